"""Asking GitHub over a real connection: waits are obeyed and bounded, failures are ours, and no
secret leaves but in its header.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from claude_run.errors import CallerError, ClaudeRunError, Code, ConfigurationError, UpstreamError
from doubles.recording_server import Asked, RecordingServer, recording_server
from gateway.github import access as access_module
from gateway.github.access import FOUND, READ, GitHubAccess
from gateway.github.asked import RepositoryRef
from gateway.github.credentials import AppKey
from gateway.github.failures import translated
from gateway.github.redeliveries import Redeliveries
from gateway.github.settings import GitHubSettings
from gateway.setup.installations import look

REPOSITORY = RepositoryRef(id=1, name="octo/one", installation_id=7, default_branch="main")
TOKEN = "ghs_planted." + "x-Y_9" * 100


@pytest.fixture(scope="module")
def private_key() -> str:
    """Of an App."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    ).decode()


@dataclass
class Script:
    """What the server answers, one after the other; tokens whenever they are asked for."""

    answers: list[bytes] = field(default_factory=list)
    token: str = TOKEN
    tokens: int = 0

    def __call__(self, asked: Asked, send: Callable[[bytes], None]) -> None:
        if "access_tokens" in asked.line:
            self.tokens += 1
            until = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")
            send(answer(201, {"token": self.token, "expires_at": until}))
        elif self.answers:
            send(self.answers.pop(0))
        else:
            send(answer(200, {"id": 1, "full_name": "octo/one"}))


def answer(status: int, body: object = None, **headers: str) -> bytes:
    """An HTTP answer."""
    content = json.dumps(body if body is not None else {"message": "No."}).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in named.items())]
    lines += ["Connection: close", f"Content-Length: {len(content)}", "", ""]
    return "\r\n".join(lines).encode() + content


@dataclass
class World:
    """A server, its script, ourselves, and how long we have slept."""

    server: RecordingServer
    script: Script
    access: GitHubAccess
    slept: list[float]

    def asked(self, *, but_tokens: bool = True) -> list[Asked]:
        """The requests that were made."""
        return [
            one for one in self.server.asked if "access_tokens" not in one.line or not but_tokens
        ]

    def get(self) -> int:
        """One request of the installation's."""
        with translated():
            return self.access.client(REPOSITORY, READ).get_repo("octo/one").id

    def comment(self) -> None:
        """One that must not be made twice."""
        with translated():
            requester = self.access.client(REPOSITORY, READ).requester
            requester.requestJsonAndCheck("POST", "/repos/octo/one/issues/1/comments", input={})


@pytest.fixture
def world(private_key: str) -> Iterator[World]:
    """All of it."""
    script, slept = Script(), list[float]()
    with recording_server(script) as server:
        access = GitHubAccess(
            settings=GitHubSettings(api_url=server.url),
            key=lambda: AppKey(app_id="42", private_key=private_key),
            sleep=slept.append,
            patience=60,
        )
        yield World(server=server, script=script, access=access, slept=slept)
        access.close()


@pytest.mark.parametrize(
    ("first", "slept"),
    [
        (answer(403, retry_after="7"), [7.0]),
        (answer(429, retry_after="7"), [7.0]),
        (answer(502), [1.0]),
        (b"", [1.0]),
    ],
)
def test_it_waits_and_asks_again(world: World, first: bytes, slept: list[float]) -> None:
    """As long as it is told, then it goes on as if nothing had been."""
    world.script.answers = [first]
    assert world.get() == 1
    assert world.slept == slept
    assert len(world.asked()) == 2


def test_a_reset_in_the_near_future_is_waited_for(world: World) -> None:
    """By GitHub's clock."""
    reset = int(datetime.now(UTC).timestamp()) + 20
    world.script.answers = [answer(403, x_ratelimit_remaining="0", x_ratelimit_reset=str(reset))]
    assert world.get() == 1
    assert 18 <= world.slept[0] <= 21


@pytest.mark.parametrize(
    ("answers", "code", "requests", "seconds"),
    [
        # A limit that ends later than anybody waits is told, with its end.
        ([answer(403, retry_after="3000")], Code.UPSTREAM_RATE_LIMIT, 1, 0),
        ([answer(429, retry_after="25")] * 9, Code.UPSTREAM_RATE_LIMIT, 3, 50),
        ([answer(429, retry_after="0")] * 9, Code.UPSTREAM_RATE_LIMIT, 4, 0),
        ([answer(502)] * 9, Code.UNAVAILABLE, 4, 13),
        ([b""] * 9, Code.UNAVAILABLE, 4, 13),
    ],
)
def test_it_gives_up(
    world: World, answers: list[bytes], code: Code, requests: int, seconds: float
) -> None:
    """After some tries, or some seconds, whichever comes first; and says when to come back."""
    world.script.answers = list(answers)
    with pytest.raises(UpstreamError) as caught:
        world.get()
    assert caught.value.code is code
    assert int(caught.value.headers["Retry-After"]) >= 0
    assert len(world.asked()) == requests
    assert sum(world.slept) == seconds


def test_the_end_of_a_limit_is_told(world: World) -> None:
    """In the header that the next one up obeys."""
    world.script.answers = [answer(403, retry_after="3000")]
    with pytest.raises(UpstreamError) as caught:
        world.get()
    assert caught.value.headers == {"Retry-After": "3000"}


def test_a_limit_without_headers_is_known_by_its_words(world: World) -> None:
    """And is not asked again at once."""
    text = "You have exceeded a secondary rate limit. Please wait a few minutes."
    world.script.answers = [answer(403, {"message": text})]
    with pytest.raises(UpstreamError) as caught:
        world.get()
    assert (caught.value.code, world.slept) == (Code.UPSTREAM_RATE_LIMIT, [])
    assert caught.value.headers == {"Retry-After": "60"}


def test_an_answer_that_is_never_ready_is_not_waited_for(world: World) -> None:
    """Whoever called comes back later; a POST may well be answered so."""
    world.script.answers = [answer(202)] * 9
    with pytest.raises(UpstreamError) as caught:
        world.get()
    assert caught.value.code is Code.UNAVAILABLE
    assert len(world.asked()) == 1
    world.comment()
    assert len(world.asked()) == 2


@pytest.mark.parametrize("first", [answer(502), b""])
def test_what_may_have_been_obeyed_is_not_sent_again(world: World, first: bytes) -> None:
    """A comment stands there once."""
    world.script.answers = [first]
    with pytest.raises(UpstreamError):
        world.comment()
    assert len(world.asked()) == 1


def test_a_silent_server_is_given_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call has a time-out."""
    monkeypatch.setattr(access_module, "TIMEOUT_SECONDS", 1)
    silence, ended = threading.Event(), list[bool]()

    def script(asked: Asked, send: Callable[[bytes], None]) -> None:
        if "access_tokens" in asked.line:
            world.script(asked, send)
        else:
            ended.append(silence.wait(30))

    world.server.script = script
    began = time.monotonic()
    with pytest.raises(UpstreamError) as caught:
        world.comment()
    assert ended == []
    # PyGithub's own is 15 s.
    assert time.monotonic() - began < 10
    silence.set()
    assert caught.value.code is Code.UNAVAILABLE


@pytest.mark.parametrize(
    ("first", "branch", "code"),
    [
        (answer(401, {"message": "Bad credentials"}), UpstreamError, Code.UPSTREAM_AUTH),
        (answer(403), CallerError, Code.FORBIDDEN),
        (answer(404, {"message": "Not Found"}), CallerError, Code.NOT_FOUND),
        (answer(422), CallerError, Code.CONFLICT),
        (b"HTTP/1.1 200 X\r\nContent-Length: 5\r\n\r\n{nope", UpstreamError, Code.UPSTREAM_ERROR),
        (answer(200, {"id": "one"}), UpstreamError, Code.UPSTREAM_ERROR),
        (answer(301, {}, location="/repos/octo/one"), UpstreamError, Code.UPSTREAM_ERROR),
    ],
)
def test_each_failure_is_somebodys(
    world: World, first: bytes, branch: type[ClaudeRunError], code: Code
) -> None:
    """By whose fault it is; nonsense is GitHub's."""
    world.script.answers = [first]
    with pytest.raises(branch) as caught:
        world.get()
    assert caught.value.code is code
    assert world.slept == []


def test_a_token_that_is_not_accepted_is_not_used_again(world: World) -> None:
    """It was revoked: the next call brings a new one."""
    assert world.get() == 1
    world.script.answers = [answer(401, {"message": "Bad credentials"})]
    with pytest.raises(UpstreamError):
        world.get()
    assert world.script.tokens == 1
    assert world.get() == 1
    assert world.script.tokens == 2


def test_a_token_is_for_one_repository_and_one_purpose(world: World) -> None:
    """That is what is asked for, with the App's own signature; and any form of it is taken."""
    world.get()
    minted, used = world.server.asked
    assert json.loads(minted.body) == {"repository_ids": [1], "permissions": {"metadata": "read"}}
    assert minted.line.split()[:2] == ["POST", "/app/installations/7/access_tokens"]
    assert minted.all("authorization")[0].startswith("Bearer eyJ")
    assert used.all("authorization") == [f"token {TOKEN}"]


@pytest.mark.parametrize("token", ["", "short", "with space in it", "line\r\nX-Evil: 1"])
def test_what_is_no_token_is_not_used(world: World, token: str) -> None:
    """It would stand in a header."""
    world.script.token = token
    with pytest.raises(UpstreamError):
        world.get()
    assert world.asked() == []


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (404, Code.NOT_FOUND, "not installed on octo/one"),
        (422, Code.FORBIDDEN, "permissions"),
        (403, Code.FORBIDDEN, "permit"),
    ],
)
def test_an_app_without_access_is_told_what_it_lacks(
    world: World, status: int, code: Code, words: str
) -> None:
    """Not installed, or without the permission: the operator can do something."""
    world.server.script = lambda _asked, send: send(answer(status))
    with pytest.raises(CallerError) as caught:
        world.access.token(REPOSITORY, {"contents": "write"})
    assert caught.value.code is code
    assert words in caught.value.message


@pytest.mark.parametrize("key", [None, AppKey(app_id="42", private_key="-----BEGIN planted")])
def test_no_key_and_a_broken_key_are_the_configurations(world: World, key: AppKey | None) -> None:
    """And the key is not quoted."""
    access = GitHubAccess(settings=GitHubSettings(api_url=world.server.url), key=lambda: key)
    with pytest.raises(ConfigurationError) as caught:
        access.token(REPOSITORY, READ)
    assert "planted" not in repr(caught.value.__dict__) + caught.value.message
    access.close()


def test_no_secret_leaves_but_in_its_header(
    world: World,
    private_key: str,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Not in a log, however much is logged, and not in an error, even if GitHub sends it back."""
    caplog.set_level(logging.DEBUG)
    world.script.answers = [
        answer(502),
        answer(422, {"message": f"Bad token {TOKEN}", "errors": [{"message": TOKEN}]}),
    ]
    with pytest.raises(CallerError) as caught:
        world.get()
    told = capsys.readouterr()
    left = f"{caught.value!r} {caught.value.__dict__} {caplog.text} {told.out} {told.err}"
    assert "ghs_planted" not in left
    assert private_key.splitlines()[1] not in left
    assert caught.value.details["github"] == "Bad token … …"
    lines = [one.line for one in world.server.asked]
    assert not any("ghs_planted" in line for line in lines)


def test_another_repository_under_its_name_is_not_taken_for_it(world: World) -> None:
    """It is known by its number."""
    assert world.access.repository(REPOSITORY, READ).id == 1
    world.script.answers = [answer(200, {"id": 2, "full_name": "octo/one"})]
    with pytest.raises(CallerError) as caught:
        world.access.repository(REPOSITORY, READ)
    assert caught.value.code is Code.NOT_FOUND


def test_what_it_keeps_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections and repositories that were found; what was used last stays."""
    monkeypatch.setattr(access_module, "MAX_CLIENTS", 3)
    monkeypatch.setattr(access_module, "MAX_REFS", 3)
    found = {"id": 1, "full_name": "octo/one", "default_branch": "main"}
    for number in range(5):
        world.access.client(replace(REPOSITORY, id=number), READ)
        world.script.answers = [answer(200, {"id": 7}), answer(200, found)]
        assert world.access.find(f"octo/{number}").id == 1
    assert len(world.access._clients) == len(world.access._refs) == 3
    assert [*world.access._refs] == ["octo/2", "octo/3", "octo/4"]


def test_a_repository_is_known_by_its_name_for_a_while(world: World, private_key: str) -> None:
    """Then it is looked for again: another one may have its name, or the App be gone."""
    now = [datetime.now(UTC)]
    access = GitHubAccess(
        settings=GitHubSettings(api_url=world.server.url),
        key=lambda: AppKey(app_id="42", private_key=private_key),
        clock=lambda: now[0],
    )
    for number, later in ((1, FOUND / 2), (1, FOUND), (2, FOUND)):
        told = {"id": number, "full_name": "octo/one", "default_branch": "main"}
        world.script.answers = [answer(200, {"id": 7}), answer(200, told)]
        assert access.find("octo/one").id == number
        now[0] += later
    access.close()
    minted = [one for one in world.server.asked if "access_tokens" in one.line]
    # By a token that reaches no other.
    expected = {"repositories": ["one"], "permissions": {"metadata": "read"}}
    assert [json.loads(one.body) for one in minted] == [expected] * 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retry_after", "9" * 9),
        ("retry_after", "9" * 400),
        ("retry_after", "Fri, 31 Dec 9999 23:59:59 GMT"),
        ("x_ratelimit_reset", "9" * 12),
    ],
)
def test_a_limit_without_an_end_has_one(world: World, name: str, value: str) -> None:
    """Whatever GitHub asks for, it is a number of seconds that others can add up."""
    left = {"x_ratelimit_remaining": "0"} if name == "x_ratelimit_reset" else {}
    world.script.answers = [answer(429, None, **{name: value}, **left)]
    with pytest.raises(UpstreamError) as caught:
        world.get()
    assert caught.value.code is Code.UPSTREAM_RATE_LIMIT
    assert 60 <= int(caught.value.headers["Retry-After"]) <= 1_000_000_000
    assert world.slept == []


def test_what_github_says_is_one_short_plain_line(world: World) -> None:
    """It stands in logs, and is shown to callers."""
    world.script.answers = [answer(422, {"message": "No\r\n\x1b[31m\u202ered: " + "why " * 500})]
    with pytest.raises(CallerError) as caught:
        world.get()
    said = str(caught.value.details["github"])
    assert said.startswith("No [31m red: why why")
    assert len(said) <= 200


@pytest.mark.parametrize(
    "until", [None, 7, "soon", "2026-11-26T05:00:00", "2026-99-99T99:99:99Z", "2" * 5_000]
)
def test_a_token_without_an_end_is_not_used(world: World, until: object) -> None:
    """Nobody knows how long it could be."""

    def script(_asked: Asked, send: Callable[[bytes], None]) -> None:
        send(answer(201, {"token": TOKEN, "expires_at": until}))

    world.server.script = script
    with pytest.raises(UpstreamError) as caught:
        world.access.token(REPOSITORY, READ)
    assert "planted" not in repr(caught.value.__dict__)


def test_its_client_logs_no_answers(
    world: World, private_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    """One of them is a token; whoever looks for something may have asked for all that it says."""
    caplog.set_level(logging.DEBUG)
    logging.getLogger("github").setLevel(logging.DEBUG)
    access = GitHubAccess(
        settings=GitHubSettings(api_url=world.server.url),
        key=lambda: AppKey(app_id="42", private_key=private_key),
    )
    assert access.token(REPOSITORY, READ) == TOKEN
    access.close()
    assert TOKEN not in caplog.text


# --- deliveries that did not arrive --------------------------------------------------------------


def failed_delivery(number: int) -> dict[str, object]:
    """As GitHub lists one that found nobody, so many minutes ago."""
    at = datetime.now(UTC) - timedelta(minutes=number)
    return {
        "id": number,
        "guid": f"g-{number}",
        "delivered_at": at.isoformat(timespec="seconds"),
        "status_code": 502,
    }


def redeliveries(world: World) -> Redeliveries:
    """Of this App."""
    return Redeliveries(world.access, lambda: datetime.now(UTC))


def test_a_delivery_that_github_refuses_keeps_none_back(world: World) -> None:
    """The oldest is asked for first, each time: those behind it would never come."""
    listed = [failed_delivery(number) for number in (5, 6, 7)]
    world.script.answers = [answer(200, listed), answer(404), answer(202, {}), answer(202, {})]
    assert redeliveries(world).ask() == 2
    assert [one.line.split()[1] for one in world.server.asked[1:]] == [
        f"/app/hook/deliveries/{number}/attempts" for number in (7, 6, 5)
    ]


@pytest.mark.parametrize(
    "listed",
    [[{"id": 1}], ["x"], {"message": "?"}, [{**failed_delivery(5), "delivered_at": "soon"}]],
    ids=["too little", "no object", "no list", "no time"],
)
def test_a_list_of_deliveries_that_is_none_is_githubs_fault(world: World, listed: object) -> None:
    """The sweep goes on without it."""
    world.script.answers = [answer(200, listed)]
    with pytest.raises(UpstreamError, match="deliveries"):
        redeliveries(world).due()


# --- where the App is installed ------------------------------------------------------------------


def test_an_enterprise_is_known_by_its_slug(world: World) -> None:
    """It has no login; one such must not hide where else the App is."""
    enterprise = {"id": 3, "account": {"slug": "big", "type": "Enterprise"}, "app_slug": "our-app"}
    person = {"id": 4, "account": {"login": "ann"}, "suspended_at": "2026-11-01T00:00:00Z"}
    none = {"total_count": 0, "repositories": []}
    world.script.answers = [answer(200, [enterprise, person]), answer(200, none)]
    found = look(world.access.app(), lambda: datetime.now(UTC))
    told = [(one.account, one.is_suspended) for one in found.installations]
    assert (found.slug, told) == ("our-app", [("big", False), ("ann", True)])
