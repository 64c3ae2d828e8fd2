"""`POST /webhooks/github`: what is accepted, ignored and refused, and what is stored of it."""

import gzip
import io
import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import github_events as gh
from claude_run.errors import ConfigurationError, UpstreamError
from gateway import instance as instances
from gateway import intake
from gateway.github import payload
from gateway.github.asked import Asked
from gateway.github.credentials import WEBHOOK_SECRET
from gateway.http import webhooks
from gateway.http.routes import WEBHOOKS
from gateway.http.targets import Target
from gateway.instance import Instance
from gateway.metrics import read_counts
from gateway.setup.record import AppRecord, Apps
from gateway.store import Query, Update
from gateway.work.queue import Queue
from gateway_app import NoStore, Started, open_app, open_function


@dataclass(slots=True, kw_only=True)
class Function:
    """The function, what is behind it, and a time of the test's own."""

    client: FlaskClient
    instance: Instance
    started: Started
    store: Path
    days: timedelta = timedelta()

    def send(self, event: str, body: gh.Json | bytes, **headers: str | None) -> TestResponse:
        """A delivery as GitHub sends it; a header that is None is left out."""
        data = body if isinstance(body, bytes) else gh.encoded(body)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        sent = gh.headers(event, data) | named
        kept = {name: value for name, value in sent.items() if value is not None}
        return self.client.post(WEBHOOKS, data=data, headers=kept)

    def told(self, event: str, body: gh.Json | bytes, **headers: str) -> str:
        """The status of an answer that is 200."""
        answer = self.send(event, body, **headers)
        assert answer.status_code == 200, answer.text
        status: str = answer.get_json()["status"]
        return status

    def kept(self) -> dict[str, int]:
        """How many documents there are of each kind but counters."""
        with closing(sqlite3.connect(self.store)) as connection:
            rows = connection.execute("SELECT family, count(*) FROM documents GROUP BY 1")
            return {family: count for family, count in rows if family != "metrics"}

    def work(self) -> list[Asked]:
        """What is asked by the work that is stored."""
        found = self.instance.store.query(Query(collection="work", limit=100))
        return [Asked.from_data(document.data["asked"]) for document in found]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Function]]:
    """Functions with settings of a test's own."""
    opened: list[Any] = []

    def make(**environ: str) -> Function:
        started = Started()
        function: list[Function] = []

        def now() -> datetime:
            return datetime.now(UTC) + (function[0].days if function else timedelta())

        monkeypatch.setattr(instances, "utc_now", now)
        environ = {"GITHUB_WEBHOOK_SECRET": gh.SECRET} | environ
        context = open_function(Target.WEBHOOK, tmp_path, started, **environ)
        opened.append(context)
        client, instance = context.__enter__()
        assert client.get("/health").status_code == 200  # the store comes to be
        function.append(
            Function(
                client=client, instance=instance, started=started, store=tmp_path / "gateway.db"
            )
        )
        return function[0]

    yield make
    for context in reversed(opened):
        context.__exit__(None, None, None)


@pytest.fixture
def function(make: Callable[..., Function]) -> Function:
    """One as it is set up by default."""
    return make()


# Accepted


class Meeting(Apps):
    """Two who ask for the App have to be at it at the same time."""

    barrier = threading.Barrier(2, timeout=20)

    def record(self) -> AppRecord | None:
        """The App."""
        self.barrier.wait()
        return super().record()


def test_one_delivery_does_not_wait_for_anothers_question(function: Function) -> None:
    """Nobody stands in a line before a store that answers late, or not at all."""
    instance = function.instance
    taking = intake.Intake(
        settings=instance.settings.triggers,
        queue=Queue(store=instance.store, clock=instance.clock),
        apps=Meeting(instance.store, instance.clock),
        counters=instance.metrics,
        starter=function.started,
        clock=instance.clock,
    )

    def take(number: int) -> intake.Status:
        happened = payload.read(gh.opened(number), "issues")
        return taking.take(happened, delivery=f"d-{number}").status

    with ThreadPoolExecutor(2) as pool:
        assert [*pool.map(take, (7, 8))] == [intake.Status.ACCEPTED] * 2


def test_an_issue_becomes_work(function: Function) -> None:
    """Stored when it is told so: the delivery, the work, its conversation; and a worker starts."""
    answer = function.send("issues", gh.opened(), X_GitHub_Delivery="one-1")
    assert (answer.status_code, answer.get_json()) == (200, {"status": "accepted"})
    assert function.kept() == {"deliveries": 1, "work": 1, "conversations": 1}
    delivery = function.instance.store.get("deliveries/one-1")
    assert delivery is not None
    assert [asked.key for asked in function.work()] == [delivery.data["work"]]
    assert function.started.times == 1


def test_everything_that_is_asked_of_us(function: Function) -> None:
    """Comments, reviews, their comments, labels, mentions by an edit."""
    bodies = {
        "issue_comment": gh.commented("@claude"),
        "pull_request_review": gh.reviewed("@claude"),
        "pull_request_review_comment": gh.review_commented("@claude"),
        "issues": gh.event("labeled", issue=gh.issue(), label=gh.label("claude")),
    }
    assert [function.told(event, body) for event, body in bodies.items()] == ["accepted"] * 4
    edit = gh.edited({"body": "x"}, body="y @claude")
    assert function.told("issues", edit) == "accepted"
    assert len(function.work()) == 5


def test_the_same_again_is_a_duplicate(function: Function) -> None:
    """The same delivery, another one of the same body, and the same meaning by another event."""
    body = gh.opened(labels=("claude",))
    assert function.told("issues", body, X_GitHub_Delivery="a") == "accepted"
    assert function.told("issues", body, X_GitHub_Delivery="a") == "duplicate"
    assert function.told("issues", body, X_GitHub_Delivery="b") == "duplicate"
    labeled = gh.event("labeled", issue=body["issue"], label=gh.label("claude"))
    assert function.told("issues", labeled) == "duplicate"
    assert function.kept()["work"] == 1
    # The work is not done: each one is a reason to see that somebody does it.
    assert function.started.times == 4


def test_one_delivery_a_hundred_times_at_once(function: Function) -> None:
    """One is accepted, all others are duplicates; nothing is stored twice."""
    data = gh.encoded(gh.opened())
    headers = gh.headers("issues", data, delivery="same")
    application = function.client.application
    together = threading.Barrier(25)

    def send(_number: int) -> str:
        together.wait(30)
        answer = application.test_client().post(WEBHOOKS, data=data, headers=headers)
        return f"{answer.status_code} {answer.get_json()['status']}"

    with ThreadPoolExecutor(25) as pool:
        told = list(pool.map(send, range(100)))
    assert sorted(told) == ["200 accepted"] + ["200 duplicate"] * 99
    assert function.kept() == {"deliveries": 1, "work": 1, "conversations": 1}


@pytest.mark.parametrize("days", [4, 29])
def test_a_delivery_that_comes_again_days_later(function: Function, days: int) -> None:
    """Under its own id, or under another: it is known by what it says."""
    body = gh.opened()
    assert function.told("issues", body, X_GitHub_Delivery="a") == "accepted"
    function.days = timedelta(days=days)
    assert function.told("issues", body, X_GitHub_Delivery="a") == "duplicate"
    assert function.told("issues", body, X_GitHub_Delivery="b") == "duplicate"
    assert len(function.work()) == 1


def test_deliveries_out_of_order(function: Function) -> None:
    """What was asked later and comes first is taken in first; nothing is lost or doubled."""
    opened, edited = gh.opened(body="old"), gh.edited({"body": "old"}, body="new, @claude")
    labeled = gh.event("labeled", issue=opened["issue"], label=gh.label("claude"))
    told = [function.told("issues", body) for body in (edited, labeled, opened)]
    assert told == ["accepted", "accepted", "duplicate"]


def test_a_worker_that_does_not_start_loses_nothing(function: Function) -> None:
    """What is accepted is accepted: the sweep starts another one."""
    function.started.error = UpstreamError("no worker today")
    assert function.told("issues", gh.opened()) == "accepted"
    assert len(function.work()) == 1


def test_texts_of_every_kind_arrive(function: Function) -> None:
    """As long as GitHub takes them, empty, hidden, full of mentions, in any script: unchanged."""
    texts = [
        "x" * 65_536,
        "\U0001f600" * 65_536,
        "@claude " * 8_192,
        " ".join(f"@user{number}" for number in range(10_000))[:65_536],
        "",
        "<!-- only a comment -->",
        "日本語 العربية हिन्दी ไทย עברית ❤️‍🔥 Ω≈ç√∫",
        "\u202eevil\u2066 \ufeff \u2028 \x00 \x1b[31m \r\n",
    ]
    for number, text in enumerate(texts, start=1):
        assert function.told("issues", gh.opened(number, body=text)) == "accepted"
    found = {asked.issue: asked.text for asked in function.work()}
    assert found == dict(enumerate(texts, start=1))


def test_two_secrets_are_valid_while_one_replaces_the_other(
    make: Callable[..., Function],
) -> None:
    """As the vault has them; the environment's stands in for both."""
    function = make(GITHUB_WEBHOOK_SECRET="")
    vault = function.instance.vault
    body = gh.opened()
    assert function.send("issues", body).status_code == 401
    vault.put(WEBHOOK_SECRET, gh.SECRET)
    assert function.told("issues", body) == "accepted"
    vault.put(WEBHOOK_SECRET, "the-new-secret", keep_previous=True)
    assert function.told("issues", body) == "duplicate"
    new = gh.signature(gh.encoded(body), "the-new-secret")
    assert function.told("issues", body, X_Hub_Signature_256=new) == "duplicate"
    vault.put(WEBHOOK_SECRET, "the-newest-secret")
    assert function.send("issues", body).status_code == 401


def test_all_routes_under_one_origin(tmp_path: Path) -> None:
    """On a laptop a delivery comes through a tunnel: its Host is foreign, its signature is not."""
    body = gh.encoded(gh.commented("nothing for us"))
    strange = {"Host": "tunnel.example", "Origin": "https://evil.example"}
    with open_app(tmp_path, GITHUB_WEBHOOK_SECRET=gh.SECRET) as (client, _):
        headers = gh.headers("issue_comment", body) | strange
        answer = client.post(WEBHOOKS, data=body, headers=headers)
        assert (answer.status_code, answer.get_json()["status"]) == (200, "ignored")
        forged = headers | {"X-Hub-Signature-256": gh.signature(body, "other")}
        assert client.post(WEBHOOKS, data=body, headers=forged).status_code == 401
        assert client.get(WEBHOOKS, headers=strange).status_code == 405


# Ignored


def test_what_is_not_ours_starts_nothing(function: Function) -> None:
    """Every event and action of GitHub, though each of them speaks of us: 200, and no trace."""
    others = list(gh.of_others())
    for name, action, body in others:
        answer = function.send(name, body)
        assert answer.status_code == 200, (name, action, answer.text)
        assert answer.get_json() == {"status": "ignored", "reason": intake.UNUSED}
    assert len(others) > 250
    assert function.kept() == {}
    assert function.started.times == 0
    function.instance.metrics.flush()
    counts = read_counts(function.instance.store)
    assert (counts.webhooks, counts.by_route[WEBHOOKS]) == (len(others), len(others))
    assert counts.last_webhook_at is not None


def test_what_is_not_for_us_starts_nothing(function: Function) -> None:
    """Bots, ourselves, people who speak of something else: with the reason."""
    bodies = {
        gh.encoded(gh.commented("Nice!")): "issue_comment",
        gh.encoded(gh.commented("@claude", sender=gh.BOT)): "issue_comment",
        gh.encoded(gh.opened(sender=gh.OURSELVES)): "issues",
        gh.encoded(gh.reviewed(None)): "pull_request_review",
        gh.encoded(gh.PING): "ping",
    }
    for body, event in bodies.items():
        answer = function.send(event, body).get_json()
        assert answer["status"] == "ignored"
        assert answer["reason"]
    assert function.kept() == {}
    assert function.started.times == 0


def test_an_edit_of_an_issue_that_was_served(function: Function) -> None:
    """It counts only where nobody was served; one that newly mentions us counts."""
    store = function.instance.store
    assert function.told("issues", gh.opened()) == "accepted"
    [talk] = store.query(Query(collection="conversations", limit=10))
    store.write([Update(talk.path, {"served": True})])
    answer = function.send("issues", gh.edited({"body": "x"}, body="y")).get_json()
    assert answer == {"status": "ignored", "reason": intake.NOT_NEEDED}
    assert function.told("issues", gh.edited({"body": "x"}, body="y @claude")) == "accepted"


def test_the_operators_triggers_hold(make: Callable[..., Function]) -> None:
    """Labels and words by their settings."""
    function = make(TRIGGER_ON_OPEN="false", TRIGGER_PHRASE="@robot", TRIGGER_LABEL="none")
    assert function.told("issues", gh.opened(body="@claude", labels=("claude",))) == "ignored"
    assert function.told("issues", gh.opened(body="@robot")) == "accepted"


# Installations


def test_installations_are_kept_true(function: Function) -> None:
    """Created, changed, suspended, removed; and from then on the App's name is known."""
    apps = Apps(function.instance.store, lambda: datetime.now(UTC))

    def names() -> list[str]:
        record = apps.record()
        assert record is not None
        return sorted(
            name for one in record.installations.values() for name in one.repositories.values()
        )

    assert function.told("installation", gh.installed("created", "one", "two")) == "accepted"
    assert names() == ["octo/one", "octo/two"]
    body = gh.repositories_changed("removed", "one")
    assert function.told("installation_repositories", body) == "accepted"
    assert names() == ["octo/two"]
    body = gh.repositories_changed("added", "three")
    assert function.told("installation_repositories", body) == "accepted"
    assert names() == ["octo/three", "octo/two"]
    suspended = gh.installed("suspend", suspended_at=gh.NOW)
    assert function.told("installation", suspended) == "accepted"
    record = apps.record()
    assert record is not None
    assert (record.app_id, record.slug, record.repository_count) == (str(gh.APP_ID), gh.SLUG, 0)
    assert function.told("installation", gh.installed("unsuspend")) == "accepted"
    assert function.told("issue_comment", gh.commented(f"@{gh.SLUG} do it")) == "accepted"
    assert function.told("installation", gh.installed("deleted")) == "accepted"
    assert names() == []
    assert function.started.times == 1


def test_an_older_server_tells_no_name(function: Function) -> None:
    """What was known stays."""
    assert function.told("installation", gh.installed("created", "one")) == "accepted"
    nameless = gh.installed("suspend", app_slug="", suspended_at=gh.NOW)
    assert function.told("installation", nameless) == "accepted"
    record = Apps(function.instance.store, lambda: datetime.now(UTC)).record()
    assert record is not None
    assert record.slug == gh.SLUG


# Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """What is sent instead, and the status that answers it."""

    status: int
    headers: dict[str, str | None]
    body: bytes | None = None


BODY = gh.encoded(gh.opened())
SIGNED = gh.signature(BODY)
REFUSED = {
    "not signed": Refused(status=401, headers={"X-Hub-Signature-256": None}),
    "of another secret": Refused(
        status=401, headers={"X-Hub-Signature-256": gh.signature(BODY, "other")}
    ),
    "of another body": Refused(
        status=401, headers={"X-Hub-Signature-256": gh.signature(BODY + b" ")}
    ),
    "by SHA-1": Refused(
        status=401,
        headers={"X-Hub-Signature-256": None, "X-Hub-Signature": f"sha1={SIGNED[7:47]}"},
    ),
    "signed twice": Refused(status=401, headers={"X-Hub-Signature-256": f"{SIGNED},{SIGNED}"}),
    "not ASCII": Refused(status=401, headers={"X-Hub-Signature-256": "sha256=" + "é" * 64}),
    "cut": Refused(status=401, headers={"X-Hub-Signature-256": SIGNED}, body=BODY[:-1]),
    "empty": Refused(status=401, headers={"X-Hub-Signature-256": SIGNED}, body=b""),
    "not JSON and not signed": Refused(
        status=401, headers={"X-Hub-Signature-256": SIGNED}, body=b"{"
    ),
    "a form": Refused(
        status=415, headers={"Content-Type": "application/x-www-form-urlencoded"}, body=b"payload="
    ),
    "text": Refused(status=415, headers={"Content-Type": "text/plain"}),
    "of no type": Refused(status=415, headers={"Content-Type": None}),
    "of another charset": Refused(
        status=415, headers={"Content-Type": "application/json; charset=utf-16"}
    ),
    "compressed": Refused(
        status=415, headers={"Content-Encoding": "gzip"}, body=gzip.compress(BODY)
    ),
    "without an id": Refused(status=400, headers={"X-GitHub-Delivery": None}),
    "with two ids": Refused(status=400, headers={"X-GitHub-Delivery": "a,b"}),
    "with a path as its id": Refused(status=400, headers={"X-GitHub-Delivery": "../work/a"}),
    "with a long id": Refused(status=400, headers={"X-GitHub-Delivery": "a" * 65}),
    "without an event": Refused(status=400, headers={"X-GitHub-Event": None}),
    "of two events": Refused(status=400, headers={"X-GitHub-Event": "issues,issues"}),
    "of another event": Refused(status=400, headers={"X-GitHub-Event": "issue_comment"}),
    "of an unknown event": Refused(status=400, headers={"X-GitHub-Event": "push"}),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_leaves_no_trace(function: Function, name: str) -> None:
    """Forged, replayed under another name, cut, too large, compressed, signed twice."""
    refused = REFUSED[name]
    body = BODY if refused.body is None else refused.body
    given = {key.replace("-", "_"): value for key, value in refused.headers.items()}
    answer = function.send("issues", body, **given)
    assert answer.status_code == refused.status, answer.text
    envelope = answer.get_json()
    assert set(envelope) == {"error", "message", "timestamp"}
    assert gh.SECRET not in answer.text
    assert gh.signature(body)[7:] not in answer.text
    assert function.kept() == {}
    assert function.started.times == 0


def test_the_form_type_is_told_what_to_set(function: Function) -> None:
    """It is the first choice on GitHub's own page."""
    answer = function.send("issues", BODY, Content_Type="application/x-www-form-urlencoded")
    assert "application/json" in answer.get_json()["message"]


@pytest.mark.parametrize("length", [str(25 * 1024 * 1024 + 1), "9" * 40, "9" * 5_000])
def test_a_body_that_says_it_is_too_large(function: Function, length: str) -> None:
    """A byte more than GitHub sends: nothing of it is read."""
    stream = io.BytesIO(BODY)
    answer = function.client.post(
        WEBHOOKS,
        input_stream=stream,
        headers=gh.headers("issues", BODY),
        environ_overrides={"CONTENT_LENGTH": length},
    )
    assert (answer.status_code, stream.tell()) == (413, 0)


def test_a_body_that_grows_too_large(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a length it is read no further than its bound."""
    monkeypatch.setattr(webhooks, "MAX_BODY_BYTES", 100_000)
    stream = io.BytesIO(b" " * 1_000_000)
    answer = function.client.post(
        WEBHOOKS,
        input_stream=stream,
        headers=gh.headers("issues", b""),
        environ_overrides={
            "wsgi.input_terminated": True,
            "CONTENT_LENGTH": "",
            "HTTP_TRANSFER_ENCODING": "chunked",
        },
    )
    assert answer.status_code == 413
    assert stream.tell() < 250_000


def test_few_large_bodies_at_once(function: Function, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has to sign what fills our memory: the third of them comes again later."""
    monkeypatch.setattr(webhooks, "LARGE_BYTES", 1_000)
    together, may_end = threading.Barrier(webhooks.MAX_LARGE + 1), threading.Event()

    class Slow(io.BytesIO):
        def readinto(self, buffer: Any) -> int:  # noqa: ANN401 - as in typeshed
            if not self.tell():
                together.wait(20)
                may_end.wait(20)
            return super().readinto(buffer)

    application = function.client.application

    def send(number: int) -> int:
        data = gh.encoded(gh.opened(number))
        return (
            application.test_client()
            .post(
                WEBHOOKS,
                input_stream=Slow(data),
                headers=gh.headers("issues", data),
                environ_overrides={"CONTENT_LENGTH": str(len(data))},
            )
            .status_code
        )

    with ThreadPoolExecutor(webhooks.MAX_LARGE) as pool:
        sent = [pool.submit(send, number) for number in range(1, webhooks.MAX_LARGE + 1)]
        together.wait(20)
        answer = function.send("issues", gh.opened(9))
        assert (answer.status_code, answer.get_json()["error"]) == (503, "UNAVAILABLE")
        assert int(answer.headers["Retry-After"]) > 0
        assert function.told("ping", gh.PING) == "ignored"
        may_end.set()
        assert [one.result(20) for one in sent] == [200] * webhooks.MAX_LARGE
    assert function.told("issues", gh.opened(9)) == "accepted"


def test_a_body_that_ends_too_early(function: Function) -> None:
    """Of what has not arrived nothing is known."""
    answer = function.client.post(
        WEBHOOKS,
        input_stream=io.BytesIO(BODY[:100]),
        headers=gh.headers("issues", BODY),
        environ_overrides={"CONTENT_LENGTH": str(len(BODY))},
    )
    assert answer.status_code == 400
    assert function.kept() == {}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff{}",
        b"\xef\xbb\xbf{}",
        b'{"action": NaN}',
        b'{"action": 1e999}',
        b'{"action": "opened", "action": "closed"}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"issue": ' + b"9" * 5_000 + b"}",
    ],
    ids=range(12),
)
def test_signed_and_still_not_json(function: Function, body: bytes) -> None:
    """What two readers could understand differently is refused."""
    answer = function.send("issues", body)
    assert (answer.status_code, answer.get_json()["error"]) == (400, "VALIDATION_ERROR")
    assert function.kept() == {}


def test_nothing_is_answered_before_it_is_written(function: Function) -> None:
    """Without a store nobody is told that it was accepted: it has to come again."""
    store = function.instance.store
    assert function.told("ping", gh.PING) == "ignored"
    working = store.transact
    store.transact = NoStore().transact  # type: ignore[method-assign]
    try:
        for event, body in (
            ("issues", gh.opened()),
            ("installation", gh.installed("created", "one")),
            ("installation_repositories", gh.repositories_changed("added", "two")),
        ):
            answer = function.send(event, body)
            assert (answer.status_code, answer.get_json()["error"]) == (503, "UNAVAILABLE")
            assert int(answer.headers["Retry-After"]) > 0
    finally:
        store.transact = working  # type: ignore[method-assign]
    assert function.started.times == 0
    assert function.told("issues", gh.opened()) == "accepted"


def test_without_its_vault_nothing_can_be_checked(
    make: Callable[..., Function], tmp_path: Path
) -> None:
    """A vault that others may read is none: 500 and no trace, whatever is signed."""
    function = make(GITHUB_WEBHOOK_SECRET="")
    function.instance.vault.put(WEBHOOK_SECRET, gh.SECRET)
    (tmp_path / "vault").chmod(0o755)
    with pytest.raises(ConfigurationError):
        function.instance.vault.get(WEBHOOK_SECRET)
    assert function.send("issues", gh.opened()).status_code == 500
    (tmp_path / "vault").chmod(0o700)
    assert function.told("issues", gh.opened()) == "accepted"


def test_a_secret_is_in_no_answer_and_no_document(function: Function, tmp_path: Path) -> None:
    """Neither the webhook's, nor the signature made with it."""
    answer = function.send("issues", gh.opened())
    assert function.told("issues", gh.opened(8)) == "accepted"
    shown = answer.text + json.dumps(dict(answer.headers))
    function.instance.store.close()
    shown += "".join(path.read_bytes().decode("latin-1") for path in tmp_path.glob("gateway.db*"))
    assert gh.SECRET not in shown
    assert SIGNED[7:] not in shown
