"""Who calls: the rule of a deployment, tokens with real signatures, and a browser's requests."""

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from claude_run import idtoken
from claude_run.errors import CallerError, Code, ConfigurationError, UpstreamError
from claude_run.identity import (
    LOCAL_CALLER,
    AuthSettings,
    Caller,
    Mode,
    authenticate,
    check_local_request,
)
from claude_run.idtoken import Certificates

NOW = 1_800_000_000.0
AUDIENCE = "https://api.test"
CLAIMS: dict[str, Any] = {
    "iss": "https://accounts.google.com",
    "aud": AUDIENCE,
    "iat": NOW - 60,
    "exp": NOW + 3540,
    "sub": "1234567890",
    "email": "Caller@Example.com",
    "email_verified": True,
}
VERIFY = AuthSettings(
    mode=Mode.VERIFY,
    audience=AUDIENCE,
    allowed_callers=frozenset({"caller@example.com"}),
    operators=frozenset({"operator@example.com"}),
)
IAM = AuthSettings(mode=Mode.IAM, operators=frozenset({"caller@example.com"}))


class Pairs:
    """Headers as a framework gives them: pairs, one name perhaps twice."""

    def __init__(self, *pairs: tuple[str, str]) -> None:
        self._pairs = pairs

    def items(self) -> Iterable[tuple[str, str]]:
        """All pairs."""
        return self._pairs


class Issuer:
    """Signs tokens as Google does, with a key and a self-signed certificate of its own."""

    def __init__(self, key_id: str) -> None:
        self.key_id = key_id
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self.key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM).decode()

    def sign(self, message: bytes) -> bytes:
        """An RS256 signature."""
        return self.key.sign(message, padding.PKCS1v15(), hashes.SHA256())

    def token(self, claims: object = None, **header: object) -> str:
        """A token with this key's signature over any header and any claims."""
        return jwt(
            {"alg": "RS256", "kid": self.key_id, "typ": "JWT"} | header,
            CLAIMS if claims is None else claims,
            self.sign,
        )


def jwt(header: object, claims: object, sign: Callable[[bytes], bytes]) -> str:
    signed = f"{segment(json.dumps(header))}.{segment(json.dumps(claims))}"
    return f"{signed}.{segment(sign(signed.encode()))}"


def segment(value: str | bytes) -> str:
    raw = value.encode() if isinstance(value, str) else value
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


GOOGLE = Issuer("google-1")
STRANGER = Issuer("google-1")
CERTIFICATES = {GOOGLE.key_id: GOOGLE.certificate, "google-2": Issuer("google-2").certificate}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def verify(headers: Mapping[str, str] | Pairs, *, now: float = NOW) -> Caller:
    certificates = Certificates(lambda: CERTIFICATES)
    return authenticate(VERIFY, headers, certificates=certificates, now=now)


def refused(
    headers: Mapping[str, str] | Pairs, code: Code, settings: AuthSettings = VERIFY
) -> None:
    with pytest.raises(CallerError) as caught:
        authenticate(settings, headers, certificates=Certificates(lambda: CERTIFICATES), now=NOW)
    assert caught.value.code is code
    shown = str(caught.value)
    assert not any(
        value.removeprefix("Bearer ") in shown
        for _, value in list(headers.items())
        if len(value) > 12
    )
    if code is Code.UNAUTHORIZED:
        assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


# --- the rule ---------------------------------------------------------------------------------


def test_unset_is_local_on_loopback() -> None:
    """A laptop needs no settings, and its user is the operator."""
    settings = AuthSettings.from_environ({}, loopback=True)
    assert settings.mode is Mode.LOCAL
    assert (
        authenticate(settings, {}) == LOCAL_CALLER == Caller(sub="local", email=None, operator=True)
    )


def test_all_settings_are_read() -> None:
    """Lists with commas or spaces, in any case."""
    environ = {
        "AUTH": "verify",
        "AUTH_AUDIENCE": AUDIENCE,
        "AUTH_ALLOWED_CALLERS": "Caller@example.com, b@example.com",
        "OPERATORS": "operator@example.com c@example.com",
    }
    settings = AuthSettings.from_environ(environ, loopback=False)
    assert settings.allowed_callers == {"caller@example.com", "b@example.com"}
    assert settings.operators == {"operator@example.com", "c@example.com"}
    assert (settings.mode, settings.audience) == (Mode.VERIFY, AUDIENCE)


@pytest.mark.parametrize("environ", [{"AUTH": "iam", "K_SERVICE": "api"}])
def test_iam_holds_on_cloud_run(environ: dict[str, str]) -> None:
    """Whatever it is bound to."""
    assert AuthSettings.from_environ(environ, loopback=False).mode is Mode.IAM


@pytest.mark.parametrize(
    ("environ", "loopback", "named"),
    [
        ({}, False, ["AUTH"]),
        ({"AUTH": ""}, False, ["AUTH"]),
        ({"K_SERVICE": "api"}, True, ["AUTH"]),
        ({"K_SERVICE": "api"}, False, ["AUTH"]),
        ({"CLOUD_RUN_JOB": "worker"}, True, ["AUTH"]),
        ({"AUTH": "iam"}, True, ["AUTH=iam"]),
        ({"AUTH": "iam", "CLOUD_RUN_JOB": "worker"}, True, ["AUTH=iam"]),
        ({"AUTH": "IAM", "K_SERVICE": "api"}, True, ["AUTH"]),
        ({"AUTH": "none"}, True, ["AUTH"]),
        ({"AUTH": "local"}, True, ["AUTH"]),
        ({"AUTH": "verify"}, True, ["AUTH_AUDIENCE", "AUTH_ALLOWED_CALLERS"]),
        ({"AUTH": "verify", "AUTH_AUDIENCE": " "}, True, ["AUTH_AUDIENCE", "AUTH_ALLOWED_CALLERS"]),
        ({"AUTH": "verify", "AUTH_AUDIENCE": "a"}, True, ["AUTH_ALLOWED_CALLERS"]),
        (
            {"AUTH": "verify", "AUTH_ALLOWED_CALLERS": "*", "OPERATORS": "me"},
            True,
            ["AUTH_ALLOWED_CALLERS", "OPERATORS", "AUTH_AUDIENCE"],
        ),
        ({"AUTH": "x", "OPERATORS": "everyone"}, True, ["AUTH", "OPERATORS"]),
    ],
)
def test_anything_else_does_not_start(
    environ: dict[str, str], loopback: bool, named: list[str]
) -> None:
    """Each wrong setting is named, all at once."""
    with pytest.raises(ConfigurationError) as caught:
        AuthSettings.from_environ(environ, loopback=loopback)
    settings = caught.value.details["settings"]
    assert isinstance(settings, list)
    assert [text.split()[0] for text in settings] == named
    assert all(text in str(caught.value) for text in settings)


# --- AUTH=verify ------------------------------------------------------------------------------


def test_a_token_of_an_allowed_caller_is_accepted() -> None:
    """Its `sub` owns, its e-mail is compared in lower case."""
    caller = Caller(sub="1234567890", email="caller@example.com", operator=False)
    assert verify(bearer(GOOGLE.token())) == caller
    assert verify({"authorization": f"bearer {GOOGLE.token()}"}) == caller
    assert verify(bearer(GOOGLE.token(CLAIMS | {"iss": "accounts.google.com"}))) == caller


def test_an_operator_is_known_by_e_mail() -> None:
    """In any mode, and only by a verified one."""
    operator = CLAIMS | {"email": "operator@example.com"}
    settings = AuthSettings(
        mode=Mode.VERIFY,
        audience=AUDIENCE,
        allowed_callers=VERIFY.operators,
        operators=VERIFY.operators,
    )
    certificates = Certificates(lambda: CERTIFICATES)
    headers = bearer(GOOGLE.token(operator))
    assert authenticate(settings, headers, certificates=certificates, now=NOW).operator


@pytest.mark.parametrize(
    "change",
    [
        {"iss": "https://accounts.google.com.evil.test"},
        {"iss": None},
        {"iss": []},
        {"aud": "https://other.test"},
        {"aud": AUDIENCE + "/"},
        {"aud": [AUDIENCE]},
        {"aud": None},
        {"exp": NOW - 11},
        {"exp": None},
        {"exp": str(NOW + 60)},
        {"exp": True},
        {"exp": float("nan")},
        {"exp": float("inf")},
        {"exp": [NOW + 60]},
        {"exp": 10**400},
        {"iat": NOW + 11},
        {"iat": None},
        {"iat": float("nan")},
        {"iat": -1},
        {"sub": None},
        {"sub": ""},
        {"sub": 7},
    ],
)
def test_a_signed_token_with_wrong_claims_is_refused(change: dict[str, object]) -> None:
    """Issuer, audience, lifetime and subject; of any type."""
    refused(bearer(GOOGLE.token(CLAIMS | change)), Code.UNAUTHORIZED)


@pytest.mark.parametrize(
    "change",
    [
        {"email": "stranger@example.com"},
        {"email": None},
        {"email": ["caller@example.com"]},
        {"email_verified": False},
        {"email_verified": "true"},
        {"email_verified": None},
        {"email": "caller@example.com.evil.test"},
    ],
)
def test_a_stranger_is_forbidden(change: dict[str, object]) -> None:
    """Google knows who it is; we do not serve them."""
    refused(bearer(GOOGLE.token(CLAIMS | change)), Code.FORBIDDEN)


def test_a_clock_that_is_a_little_off_is_forgiven() -> None:
    """Ten seconds, at both ends."""
    assert verify(bearer(GOOGLE.token()), now=CLAIMS["exp"] + 9)
    assert verify(bearer(GOOGLE.token()), now=CLAIMS["iat"] - 9)


def hmac_with_public_key(message: bytes) -> bytes:
    return hmac.digest(GOOGLE.certificate.encode(), message, hashlib.sha256)


FORGED = {
    "alg none": jwt({"alg": "none", "kid": "google-1"}, CLAIMS, lambda _: b""),
    "alg none, signed": GOOGLE.token(alg="none"),
    "HS256 over the public key": jwt(
        {"alg": "HS256", "kid": "google-1"}, CLAIMS, hmac_with_public_key
    ),
    "another algorithm's name": GOOGLE.token(alg="RS512"),
    "algorithm in lower case": GOOGLE.token(alg="rs256"),
    "no algorithm": jwt({"kid": "google-1"}, CLAIMS, GOOGLE.sign),
    "algorithm of another type": GOOGLE.token(alg=["RS256"]),
    "a stranger's key under Google's id": STRANGER.token(),
    "another key of Google's": GOOGLE.token(kid="google-2"),
    "an unknown key": GOOGLE.token(kid="google-3"),
    "no key": jwt({"alg": "RS256"}, CLAIMS, GOOGLE.sign),
    "key of another type": GOOGLE.token(kid=["google-1"]),
    "changed claims": ".".join(
        [
            GOOGLE.token().split(".")[0],
            segment(json.dumps(CLAIMS | {"sub": "admin"})),
            GOOGLE.token().split(".")[2],
        ]
    ),
    "no signature": GOOGLE.token().rpartition(".")[0] + ".",
    "half a signature": GOOGLE.token()[:-100],
    "the platform's mark": GOOGLE.token().rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE",
    "signature that is no base64": GOOGLE.token().rpartition(".")[0] + ".!!!!",
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_token_is_refused(name: str) -> None:
    """No algorithm but RS256, no key but the one that the token names, no byte changed."""
    refused(bearer(FORGED[name]), Code.UNAUTHORIZED)


MALFORMED = [
    "",
    "x",
    "a.b",
    "a.b.c",
    "a.b.c.d",
    "..",
    GOOGLE.token() + ".x",
    f"{segment('[]')}.{segment('{}')}.x",
    f"{segment('{}')}.{segment('null')}.x",
    f"{segment('[' * 6_000)}.{segment('{}')}.x",
    f"{segment(bytes([0xFF]))}.{segment('{}')}.x",
    "é" * 30,
    "x" * 20_000,
    "a b c",
]


@pytest.mark.parametrize("token", MALFORMED)
@pytest.mark.parametrize("settings", [VERIFY, IAM])
def test_a_malformed_token_is_refused(token: str, settings: AuthSettings) -> None:
    """401, never a 500, whoever verifies."""
    refused(bearer(token), Code.UNAUTHORIZED, settings)


@pytest.mark.parametrize(
    "headers",
    [
        Pairs(),
        Pairs(("Authorization", "")),
        Pairs(("Authorization", "Bearer")),
        Pairs(("Authorization", "Bearer ")),
        Pairs(("Authorization", "Basic dTpw")),
        Pairs(("Authorization", GOOGLE.token())),
        Pairs(("Authorization", f"Bearer {GOOGLE.token()}, Bearer {GOOGLE.token()}")),
        Pairs(("authorization", f"Bearer {GOOGLE.token()}"), ("Authorization", "Bearer x")),
        Pairs(
            ("X-Serverless-Authorization", f"Bearer {GOOGLE.token()}"),
            ("x-serverless-authorization", f"Bearer {GOOGLE.token()}"),
        ),
    ],
)
@pytest.mark.parametrize("settings", [VERIFY, IAM])
def test_a_request_without_one_clear_token_is_refused(
    headers: Pairs, settings: AuthSettings
) -> None:
    """Also where the header is there twice: somebody in front may have seen the other."""
    refused(headers, Code.UNAUTHORIZED, settings)


def test_verify_without_certificates_fails_closed() -> None:
    """A mistake of ours must not let anybody in."""
    with pytest.raises(ConfigurationError):
        authenticate(VERIFY, bearer(GOOGLE.token()), now=NOW)


# --- AUTH=iam ---------------------------------------------------------------------------------


def stripped(**claims: object) -> str:
    """A token as Cloud Run passes it on."""
    return GOOGLE.token(CLAIMS | claims).rpartition(".")[0] + ".SIGNATURE_REMOVED_BY_GOOGLE"


def test_iam_reads_the_claims_that_cloud_run_verified() -> None:
    """The signature is gone, so nothing else can be checked."""
    assert authenticate(IAM, bearer(stripped())) == Caller(
        sub="1234567890", email="caller@example.com", operator=True
    )


def test_iam_believes_the_header_that_cloud_run_checks() -> None:
    """With both headers there it looks at X-Serverless-Authorization alone."""
    headers = {
        "Authorization": f"Bearer {stripped(sub='forged')}",
        "X-Serverless-Authorization": f"Bearer {stripped(sub='checked')}",
    }
    assert authenticate(IAM, headers).sub == "checked"
    headers["X-Serverless-Authorization"] = "Basic x"
    refused(headers, Code.UNAUTHORIZED, IAM)


def test_iam_makes_nobody_operator_by_an_unverified_address() -> None:
    """Nor is such an address told on."""
    assert authenticate(IAM, bearer(stripped(email_verified=False))) == Caller(
        sub="1234567890", email=None, operator=False
    )
    refused(bearer(stripped(sub=None)), Code.UNAUTHORIZED, IAM)


# --- certificates -----------------------------------------------------------------------------


class Google:
    """Google's certificate page: counts visits, and can be out of reach."""

    def __init__(self) -> None:
        self.visits = 0
        self.reachable = True
        self.certificates = {"old": "pem-1"}
        self.now = 1_000.0

    def fetch(self) -> Mapping[str, str]:
        """The page."""
        self.visits += 1
        if not self.reachable:
            raise UpstreamError("unreachable", code=Code.UNAVAILABLE)
        return self.certificates


def test_certificates_are_fetched_once_an_hour() -> None:
    """However many tokens come."""
    google = Google()
    certificates = Certificates(google.fetch, clock=lambda: google.now)
    assert [certificates("old") for _ in range(100)] == ["pem-1"] * 100
    assert google.visits == 1
    google.now += idtoken.CERTIFICATES_RENEW_SECONDS
    google.certificates = {"new": "pem-2"}
    assert certificates("new") == "pem-2"
    assert certificates("old") is None
    assert google.visits == 2


def test_a_new_key_is_asked_for_but_strangers_cannot_make_us_ask() -> None:
    """A rotated key works at once; invented ones cost one visit in ten seconds."""
    google = Google()
    certificates = Certificates(google.fetch, clock=lambda: google.now)
    assert certificates("old")
    google.certificates = {"old": "pem-1", "new": "pem-2"}
    google.now += idtoken.CERTIFICATES_PAUSE_SECONDS
    assert certificates("new") == "pem-2"
    assert [certificates(f"invented-{i}") for i in range(50)] == [None] * 50
    assert google.visits == 2


def test_old_certificates_hold_for_a_while_and_then_nothing_does() -> None:
    """Google's absence is not ours, up to the bound; after it, 503 and not a silent yes."""
    google = Google()
    certificates = Certificates(google.fetch, clock=lambda: google.now)
    assert certificates("old")
    google.reachable = False
    google.now += idtoken.CERTIFICATES_MAX_AGE_SECONDS - 1
    assert certificates("old") == "pem-1"
    google.now += 1
    for _ in range(3):
        with pytest.raises(UpstreamError) as caught:
            certificates("old")
        assert caught.value.code is Code.UNAVAILABLE
    google.now += idtoken.CERTIFICATES_PAUSE_SECONDS
    google.reachable = True
    assert certificates("old") == "pem-1"


def test_threads_fetch_together_once() -> None:
    """Fifty first requests are one visit."""
    google = Google()
    certificates = Certificates(google.fetch)
    results: list[str | None] = []
    threads = [
        threading.Thread(target=lambda: results.append(certificates("old"))) for _ in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert results == ["pem-1"] * 50
    assert google.visits == 1


# --- a laptop's server and a browser ----------------------------------------------------------

JSON = {"Content-Type": "application/json", "Content-Length": "2"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "127.0.0.1:8080"},
        {"host": "localhost:8080"},
        {"Host": "LOCALHOST:8080", "Origin": "http://localhost:8080"},
        {"Host": "[::1]:8080"},
        {"Host": "127.0.0.1:8080", **JSON},
        {"Host": "127.0.0.1:8080", **JSON, "Content-Type": "Application/JSON; charset=utf-8"},
        {"Host": "127.0.0.1:8080", "Origin": "http://localhost:3000"},
        {"Host": "127.0.0.1:8080", "Content-Length": "0"},
    ],
)
def test_our_own_clients_pass(headers: dict[str, str]) -> None:
    """curl, the SDK, a page of ours, and a page the operator has named."""
    check_local_request("POST", headers, 8080, allowed_origins=["http://localhost:3000"])


def test_the_default_port_is_not_written() -> None:
    """A server on port 80 is named without it."""
    check_local_request("GET", {"Host": "localhost"}, 80)


@pytest.mark.parametrize(
    "headers",
    [
        Pairs(),
        Pairs(("Host", "")),
        Pairs(("Host", "evil.test:8080")),
        Pairs(("Host", "evil.test")),
        Pairs(("Host", "127.0.0.1.evil.test:8080")),
        Pairs(("Host", "localhost.evil.test:8080")),
        Pairs(("Host", "192.168.0.7:8080")),
        Pairs(("Host", "0.0.0.0:8080")),
        Pairs(("Host", "127.0.0.1")),
        Pairs(("Host", "127.0.0.1:8081")),
        Pairs(("Host", "127.0.0.1:99999")),
        Pairs(("Host", "127.0.0.1:x")),
        Pairs(("Host", "evil@127.0.0.1:8080")),
        Pairs(("Host", "127.0.0.1:8080/x")),
        Pairs(("Host", "[::1")),
        Pairs(("Host", "127.0.0.1:8080"), ("Host", "127.0.0.1:8080")),
        Pairs(("Host", "127.0.0.1:8080"), ("Origin", "https://evil.test")),
        Pairs(("Host", "127.0.0.1:8080"), ("Origin", "null")),
        Pairs(("Host", "127.0.0.1:8080"), ("Origin", "")),
        Pairs(("Host", "127.0.0.1:8080"), ("Origin", "http://127.0.0.1:3000")),
        Pairs(("Host", "127.0.0.1:8080"), ("Origin", "https://127.0.0.1:8080")),
        Pairs(("Host", "127.0.0.1:8080"), ("Origin", "http://127.0.0.1:8080@evil.test")),
        Pairs(("Host", "127.0.0.1:8080"), ("Origin", "file://")),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_browsers_requests_from_elsewhere_are_refused(method: str, headers: Pairs) -> None:
    """Rebound names, other sites, other ports."""
    with pytest.raises(CallerError) as caught:
        check_local_request(method, headers, 8080)
    assert caught.value.code is Code.FORBIDDEN


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Length": "2"},
        {"Content-Length": "2", "Content-Type": "text/plain"},
        {"Content-Length": "2", "Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Length": "2", "Content-Type": "text/plain; x=application/json"},
        {"Content-Length": "2", "Content-Type": "application/jsonp"},
        {"Transfer-Encoding": "chunked"},
    ],
)
def test_a_body_that_a_form_can_send_is_refused(headers: dict[str, str]) -> None:
    """Browsers send these to anybody without asking first."""
    with pytest.raises(CallerError) as caught:
        check_local_request("POST", {"Host": "localhost:8080", **headers}, 8080)
    assert caught.value.code is Code.UNSUPPORTED_MEDIA_TYPE
    check_local_request("GET", {"Host": "localhost:8080", **headers}, 8080)
