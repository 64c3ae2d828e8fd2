"""Whether GitHub has signed a delivery: by the documented vector, and by nothing else."""

import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_run.errors import CallerError
from gateway.github.signature import check_signature
from github_events import signature

# https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
SECRET = b"It's a Secret to Everybody"
BODY = b"Hello, World!"
DIGEST = "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"


def is_refused(body: bytes, given: str | None, *secrets: bytes) -> bool:
    """Whether it is, with 401; whatever the header holds, nothing else is raised."""
    try:
        check_signature(body, given, secrets)
    except CallerError as error:
        return error.http_status == 401
    return False


def test_the_documented_vector() -> None:
    """Secret, body and digest of GitHub's own documentation."""
    check_signature(BODY, f"sha256={DIGEST}", [SECRET])


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        DIGEST,
        f"sha1={DIGEST}",
        f"SHA256={DIGEST}",
        f"sha256={DIGEST[:-1]}",
        f"sha256={DIGEST}0",
        f" sha256={DIGEST}",
        f"sha256={DIGEST}\n",
        f"sha256= {DIGEST}",
        f"sha256={DIGEST[:-1]}g",
        f"sha256={DIGEST},sha256={DIGEST}",
        f"sha256={DIGEST}, sha256={DIGEST}",
        "sha256=" + "é" * 64,
        "sha256=" + "\uff11" * 64,
        "sha256=" + "\u0661" * 64,
    ],
)
def test_one_form_and_no_other(header: str | None) -> None:
    """Not there, doubled, of another algorithm, longer, shorter, not ASCII: refused."""
    assert is_refused(BODY, header, SECRET)


def test_a_refusal_tells_no_secret() -> None:
    """Neither ours, nor what would have been right."""
    with pytest.raises(CallerError) as raised:
        check_signature(BODY, "sha256=" + "0" * 64, [SECRET])
    told = str([raised.value.message, raised.value.details, raised.value.headers])
    assert SECRET.decode() not in told
    assert DIGEST not in told


def test_two_secrets_are_valid_at_once() -> None:
    """While one replaces the other; a third one never was."""
    for secret in (b"old", b"new"):
        check_signature(BODY, signature(BODY, secret.decode()), [b"new", b"old"])
    assert is_refused(BODY, signature(BODY, "other"), b"new", b"old")


def test_how_long_it_takes_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each secret is compared in constant time, also where the first one was right."""
    compare, compared = hmac.compare_digest, list[bytes]()

    def recording(ours: bytes, given: bytes) -> bool:
        compared.append(ours)
        return compare(ours, given)

    monkeypatch.setattr(hmac, "compare_digest", recording)
    check_signature(BODY, f"sha256={DIGEST}", [SECRET, b"old"])
    assert is_refused(BODY, "sha256=" + "0" * 64, SECRET, b"old")
    expected = [hmac.digest(secret, BODY, "sha256") for secret in (SECRET, b"old")]
    assert compared == expected * 2


def test_without_a_secret_nothing_is_signed() -> None:
    """Not even by the empty one."""
    assert is_refused(BODY, signature(BODY, ""))


@given(body=st.binary(max_size=300), secret=st.text(min_size=1, max_size=40), data=st.data())
def test_what_was_signed_and_nothing_else(body: bytes, secret: str, data: st.DataObject) -> None:
    """Any body with any secret; not once a bit of the body or of the digest is another."""
    header = signature(body, secret)
    check_signature(body, header, [secret.encode()])
    sent = bytearray(body) + bytearray.fromhex(header.removeprefix("sha256="))
    bit = data.draw(st.integers(min_value=0, max_value=8 * len(sent) - 1))
    sent[bit // 8] ^= 1 << bit % 8
    changed, digest = bytes(sent[: len(body)]), sent[len(body) :].hex()
    assert is_refused(changed, f"sha256={digest}", secret.encode())


@given(header=st.text(max_size=100) | st.text("0123456789abcdef", min_size=64, max_size=64))
def test_no_header_breaks_it(header: str) -> None:
    """Whatever stands there is refused."""
    assert is_refused(BODY, header, SECRET)
    assert is_refused(BODY, f"sha256={header}", SECRET) or header == DIGEST
