"""GitHub's deliveries: what an App is told, signed, and what it keeps of how that went."""

import hashlib
import hmac
import json
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx2

DELIVER_SECONDS = 10.0  # GitHub's own
THREADS = 8


@dataclass(slots=True, kw_only=True)
class Delivery:
    """One delivery. `status` is None until it was answered, and 0 where nobody answered."""

    id: int
    guid: str
    event: str
    body: bytes
    url: str | None
    redelivery: bool = False
    status: int | None = None
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def payload(self) -> dict[str, Any]:
        """What the body says."""
        payload: dict[str, Any] = json.loads(self.body)
        return payload

    def to_json(self, *, whole: bool) -> dict[str, Any]:
        """As GitHub's deliveries API shows it."""
        payload = self.payload
        shown = {
            "id": self.id,
            "guid": self.guid,
            "delivered_at": self.at.isoformat(timespec="seconds").replace("+00:00", "Z"),
            "redelivery": self.redelivery,
            "duration": 0.1,
            "status": "OK" if 200 <= (self.status or 0) < 300 else "Invalid HTTP Response",
            "status_code": self.status or 0,
            "event": self.event,
            "action": payload.get("action"),
            "installation_id": payload.get("installation", {}).get("id"),
            "repository_id": payload.get("repository", {}).get("id"),
        }
        if whole:
            shown |= {
                "url": self.url,
                "request": {"headers": {"X-GitHub-Delivery": self.guid}, "payload": payload},
                "response": {"headers": {}, "payload": None},
            }
        return shown


class Hooks:
    """Delivers to the URL that a repository's test named, or to `url`; nowhere without one.

    Like GitHub it neither waits, nor orders, nor tries again by itself.
    """

    def __init__(self, *, secret: str) -> None:
        self.secret = secret
        self.url: str | None = None
        self.urls: dict[str, str] = {}  # by a repository's full name
        self.deliveries: list[Delivery] = []
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="deliveries")
        self._lock = threading.Lock()

    def send(self, event: str, payload: Mapping[str, Any] | bytes) -> Delivery:
        """A new delivery, on its way."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        repository = json.loads(body).get("repository", {}).get("full_name", "")
        return self._begin(event, body, self.urls.get(repository, self.url), str(uuid4()))

    def redeliver(self, number: int) -> Delivery | None:
        """The same again, under the same GUID and another number; None: there is none."""
        found = self.find(number)
        if found is None:
            return None
        return self._begin(found.event, found.body, found.url, found.guid, redelivery=True)

    def find(self, number: int) -> Delivery | None:
        """A delivery by GitHub's number."""
        return next((one for one in self.deliveries if one.id == number), None)

    def of(self, full_name: str) -> list[Delivery]:
        """The deliveries that speak of a repository, oldest first."""
        return [
            one
            for one in list(self.deliveries)
            if one.payload.get("repository", {}).get("full_name") == full_name
        ]

    def wait(self, full_name: str, number: int, *, seconds: float = 30.0) -> list[Delivery]:
        """The first so many deliveries of a repository, once each was answered."""
        deadline = time.monotonic() + seconds
        while True:
            answered = [one for one in self.of(full_name) if one.status is not None or not one.url]
            if len(answered) >= number:
                return answered
            assert time.monotonic() < deadline, f"{len(answered)} of {number} deliveries"
            time.sleep(0.01)

    def close(self) -> None:
        """Deliver nothing more."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def sign(self, body: bytes) -> str:
        """The header's value."""
        return "sha256=" + hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()

    def _begin(
        self, event: str, body: bytes, url: str | None, guid: str, *, redelivery: bool = False
    ) -> Delivery:
        with self._lock:
            delivery = Delivery(
                id=1_000_000 + len(self.deliveries),
                guid=guid,
                event=event,
                body=body,
                url=url,
                redelivery=redelivery,
            )
            self.deliveries.append(delivery)
        if url is not None:
            self._pool.submit(self._post, delivery, url)
        return delivery

    def _post(self, delivery: Delivery, url: str) -> None:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/0123456",
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Event": delivery.event,
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": self.sign(delivery.body),
        }
        try:
            answer = httpx2.post(
                url,
                content=delivery.body,
                headers=headers,
                timeout=DELIVER_SECONDS,
                trust_env=False,
            )
        except httpx2.HTTPError:
            delivery.status = 0
        else:
            delivery.status = answer.status_code
