"""Deliveries and what became of them, for operators."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from claude_run.errors import CallerError, Code
from claude_run.wire_deliveries import DeliveryDetail, DeliveryView, WorkView
from gateway.sessions.record import milliseconds
from gateway.store import Cursor, Query, Store
from gateway.work import delivery as deliveries
from gateway.work import stored
from gateway.work.delivery import Delivery
from gateway.work.queue import Queue, newest_key
from gateway.work.record import WorkItem
from gateway.work.starter import Starter, try_to_start

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deliveries:
    """Safe under threads."""

    store: Store
    queue: Queue
    starter: Starter

    def page(self, *, limit: int, after: Cursor | None) -> Sequence[Delivery]:
        """Deliveries behind a place, newest first."""
        found = self.store.query(
            Query(
                collection=deliveries.COLLECTION.name,
                order="receivedAt",
                descending=True,
                after=after,
                limit=limit,
            )
        )
        return [Delivery.from_data(one.id, one.data) for one in found]

    def view(self, delivery: Delivery) -> DeliveryView:
        """As a list shows it."""
        return DeliveryView(**_fields(delivery, self._work(delivery)))

    def detail(self, delivery_id: str) -> DeliveryDetail:
        """One with its work; NOT_FOUND."""
        found = self.store.get(deliveries.path_of(delivery_id))
        if found is None:
            raise CallerError("There is no such delivery.", code=Code.NOT_FOUND)
        delivery = Delivery.from_data(delivery_id, found.data)
        item = self._work(delivery)
        return DeliveryDetail(
            **_fields(delivery, item), work=_work_view(item) if item is not None else None
        )

    def replay(self, delivery_id: str) -> DeliveryDetail:
        """Have its work done: again if it is over, else now. NOT_FOUND, CONFLICT."""
        item = self.queue.replay(delivery_id)
        log.info("delivery is replayed", delivery_id=delivery_id, work=item.key)
        try_to_start(self.starter)
        return self.detail(delivery_id)

    def _work(self, delivery: Delivery) -> WorkItem | None:
        first = stored.item(self.store, delivery.work)
        if first is None or not first.replay:
            return first
        return stored.item(self.store, newest_key(first)) or first


def _fields(delivery: Delivery, item: WorkItem | None) -> dict[str, Any]:
    return {
        "id": delivery.id,
        "received_at": milliseconds(delivery.received_at),
        "repository": delivery.repository,
        "issue": delivery.issue,
        "trigger": delivery.trigger,
        "author": delivery.author,
        "state": item.state.value if item is not None else None,
    }


def _work_view(item: WorkItem) -> WorkView:
    return WorkView(
        id=item.key,
        state=item.state.value,
        created_at=milliseconds(item.created_at),
        updated_at=milliseconds(item.updated_at),
        not_before=milliseconds(item.not_before),
        attempts=item.attempts,
        session_id=item.session.partition(".")[2] if item.session else None,
        branch=item.branch,
        code=item.outcome.get("code"),
        message=item.outcome.get("message") or None,
        pr_url=item.publication.get("url"),
        joined=list(item.joined),
        joined_to=item.joined_to,
        replays=item.replays,
    )
