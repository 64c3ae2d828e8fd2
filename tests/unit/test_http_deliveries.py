"""`/deliveries…`, `/container/process-issue`, `/internal/sweep`, `detach`: who may, and what."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from gateway.service import Gateway
from gateway.sessions.record import ISSUES, LEASE, Session, Status, key_of
from gateway.store import Put
from gateway.work.queue import Queue
from gateway.work.record import State, WorkItem
from gateway_app import IAM, open_app, token
from work_items import ASKED, COMMENT

OPERATOR = token("op", email="Op@example.com", email_verified=True)
SCHEDULER = token("sched", email="sched@example.com", email_verified=True)
CALLER = token("someone", email="someone@example.com", email_verified=True)


@contextmanager
def deployed(folder: Path) -> Iterator[tuple[FlaskClient, Gateway]]:
    """As on Cloud Run, with an operator and a scheduler; nobody answers for the job."""
    with open_app(
        folder, **IAM, OPERATORS="op@example.com", SCHEDULER_ACCOUNT="Sched@example.com"
    ) as opened:
        yield opened


def accept(gateway: Gateway) -> None:
    """Three deliveries: two of one meaning."""
    queue = Queue(store=gateway.store, clock=gateway.clock)
    queue.accept(ASKED, delivery="d-1")
    queue.accept(COMMENT, delivery="d-2")
    queue.accept(ASKED, delivery="d-3")


def finish(gateway: Gateway, key: str, state: State = State.DONE) -> None:
    """As if a worker had."""
    found = gateway.store.get(f"work/{key}")
    assert found is not None
    item = WorkItem.from_data(key, found.data)
    done = replace(
        item,
        state=state,
        session=key_of(ISSUES, "issue-7-5"),
        outcome={"code": None, "message": ""},
        publication={"url": "https://github.test/o/r/pull/9"},
    )
    gateway.store.write([Put(done.path, done.to_data())])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/deliveries"),
        ("GET", "/deliveries/d-1"),
        ("POST", "/deliveries/d-1/replay"),
        ("POST", "/container/process-issue"),
        ("POST", "/internal/sweep"),
    ],
)
def test_only_operators_may(tmp_path: Path, method: str, path: str) -> None:
    """Not a caller, and for all but the sweep not the scheduler either."""
    with deployed(tmp_path) as (client, gateway):
        accept(gateway)
        body: dict[str, Any] = {}
        if path.startswith("/container"):
            body["json"] = {"deliveryId": "d-1"}
        assert client.open(path, method=method).status_code == 401
        refused = client.open(path, method=method, headers=CALLER, **body)
        assert (refused.status_code, refused.get_json()["error"]) == (403, "FORBIDDEN")
        by_scheduler = client.open(path, method=method, headers=SCHEDULER, **body)
        assert by_scheduler.status_code == (200 if path == "/internal/sweep" else 403)
        assert client.open(path, method=method, headers=OPERATOR, **body).status_code < 300


def test_deliveries_are_listed_newest_first(tmp_path: Path) -> None:
    """In pages; each with the state of its work."""
    with deployed(tmp_path) as (client, gateway):
        accept(gateway)
        finish(gateway, ASKED.key)
        first = client.get("/deliveries?limit=2", headers=OPERATOR).get_json()
        shown = [(one["id"], one["state"]) for one in first["deliveries"]]
        assert shown == [("d-3", "done"), ("d-2", "accepted")]
        url = f"/deliveries?limit=2&pageToken={first['nextPageToken']}"
        rest = client.get(url, headers=OPERATOR).get_json()
        (last,) = rest["deliveries"]
        assert rest["nextPageToken"] is None
        assert {
            name: last[name] for name in ("id", "repository", "issue", "trigger", "author")
        } == {
            "id": "d-1",
            "repository": "o/r",
            "issue": 5,
            "trigger": "opened",
            "author": "ann",
        }


def test_one_is_shown_with_its_work(tmp_path: Path) -> None:
    """The text that was asked is not among it."""
    with deployed(tmp_path) as (client, gateway):
        accept(gateway)
        finish(gateway, ASKED.key)
        shown = client.get("/deliveries/d-3", headers=OPERATOR).get_json()
        work = shown["work"]
        assert (work["id"], work["state"], work["sessionId"]) == (ASKED.key, "done", "issue-7-5")
        assert work["prUrl"] == "https://github.test/o/r/pull/9"
        assert ASKED.text not in str(shown)
        for missing in ("d-9", "d_1", "x" * 65, "%2e%2e"):
            assert client.get(f"/deliveries/{missing}", headers=OPERATOR).status_code == 404


@pytest.mark.parametrize("path", ["/deliveries/d-1/replay", "/container/process-issue"])
def test_a_replay_starts_what_waits_and_does_again_what_is_over(tmp_path: Path, path: str) -> None:
    """Though no worker can be started now: the sweep will."""
    with deployed(tmp_path) as (client, gateway):
        accept(gateway)
        body: dict[str, Any] = {}
        if path.startswith("/container"):
            body["json"] = {"deliveryId": "d-1"}
        same = client.post(path, headers=OPERATOR, **body)
        assert same.status_code == 202
        assert same.get_json()["work"]["id"] == ASKED.key
        finish(gateway, ASKED.key)
        again = client.post(path, headers=OPERATOR, **body).get_json()["work"]
        assert again["replays"] == ASKED.key
        assert again["state"] == "accepted"
        assert client.get("/deliveries/d-1", headers=OPERATOR).get_json()["state"] == "accepted"


def test_a_delivery_that_is_not_there_is_not_replayed(tmp_path: Path) -> None:
    """Nor one that is named wrongly."""
    with deployed(tmp_path) as (client, _):
        assert client.post("/deliveries/d-9/replay", headers=OPERATOR).status_code == 404
        for body in ({"deliveryId": "d-9"}, {"deliveryId": "a/b"}, {}, {"deliveryId": "d", "x": 1}):
            answer = client.post("/container/process-issue", headers=OPERATOR, json=body)
            assert answer.status_code == (404 if body == {"deliveryId": "d-9"} else 400)


def test_operators_read_the_sessions_of_issues(tmp_path: Path) -> None:
    """And cannot stop or continue them; nobody else knows of them."""
    with deployed(tmp_path) as (client, gateway):
        now = gateway.clock()
        session = Session(
            key=key_of(ISSUES, "issue-7-5"),
            owner=ISSUES,
            session_id="issue-7-5",
            status=Status.PROCESSING,
            turn=1,
            fence=1,
            lease_until=now + LEASE,
            created_at=now,
            last_activity_at=now,
        )
        gateway.store.write([Put(session.path, session.to_data())])
        assert client.get("/interactive/issue-7-5", headers=OPERATOR).status_code == 200
        assert client.get("/interactive/issue-7-5", headers=CALLER).status_code == 404
        assert client.delete("/interactive/issue-7-5", headers=OPERATOR).status_code == 404
        said = {"json": {"prompt": "x"}}
        assert (
            client.post("/interactive/issue-7-5/message", headers=OPERATOR, **said).status_code
            == 404
        )


# --- detach --------------------------------------------------------------------------------------


def test_a_detached_session_is_accepted_and_waits(tmp_path: Path) -> None:
    """202 with its id; it can be followed, and cancelled, from then on."""
    with deployed(tmp_path) as (client, gateway):
        body = {"prompt": "Hi", "sessionId": "mine", "options": {"detach": True}}
        accepted = client.post("/interactive/start", headers=CALLER, json=body)
        assert (accepted.status_code, accepted.get_json()) == (202, {"sessionId": "mine"})
        assert accepted.headers["X-Session-Id"] == "mine"
        shown = client.get("/interactive/mine", headers=CALLER).get_json()
        assert shown["status"] == "processing"
        again = client.post("/interactive/start", headers=CALLER, json=body)
        assert (again.status_code, again.get_json()["error"]) == (409, "CONFLICT")
        assert gateway.quota.status(gateway.store, now=gateway.clock()).running == 0
        cancelled = client.delete("/interactive/mine", headers=CALLER).get_json()
        assert cancelled["status"] == "cancelled"
        said = {"json": {"prompt": "Again", "options": {"detach": True}}}
        accepted = client.post("/interactive/mine/message", headers=CALLER, **said)
        assert (accepted.status_code, accepted.get_json()) == (202, {"sessionId": "mine"})


@pytest.mark.parametrize(
    ("field", "value"),
    [("anthropicApiKey", "planted-key-0123"), ("githubToken", "planted-token-0123")],
)
def test_what_may_not_be_stored_cannot_be_left_to_a_worker(
    tmp_path: Path, field: str, value: str
) -> None:
    """Refused by name, and nothing is stored."""
    with deployed(tmp_path) as (client, _):
        body = {
            "prompt": "Hi",
            "sessionId": "mine",
            "repository": {"name": "o/r"},
            "options": {"detach": True},
            field: value,
        }
        refused = client.post("/interactive/start", headers=CALLER, json=body)
        assert (refused.status_code, refused.get_json()["error"]) == (400, "VALIDATION_ERROR")
        assert refused.get_json()["message"].startswith(f"{field}:")
        assert client.get("/interactive/mine", headers=CALLER).status_code == 404


def test_another_upstream_needs_a_key_that_cannot_be_left(tmp_path: Path) -> None:
    """Said at once, not by a worker later."""
    with deployed(tmp_path) as (client, _):
        body = {
            "prompt": "Hi",
            "sessionId": "mine",
            "anthropicBaseUrl": "https://elsewhere.example",
            "options": {"detach": True},
        }
        refused = client.post("/interactive/start", headers=CALLER, json=body)
        assert (refused.status_code, refused.get_json()["error"]) == (400, "NO_CREDENTIAL")
        assert client.get("/interactive/mine", headers=CALLER).status_code == 404
