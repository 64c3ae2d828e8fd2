"""What operators are told of deliveries and of the work they brought, as it travels."""

from typing import Annotated

from pydantic import StringConstraints

from claude_run.wire import Wire

DELIVERY_ID_PATTERN = r"^[A-Za-z0-9-]{1,64}$"

DeliveryId = Annotated[str, StringConstraints(pattern=DELIVERY_ID_PATTERN)]


class WorkView(Wire):
    """A work item; times in milliseconds since 1970."""

    id: str
    state: str
    created_at: int
    updated_at: int
    not_before: int
    attempts: int
    session_id: str | None = None
    branch: str | None = None
    code: str | None = None
    message: str | None = None
    pr_url: str | None = None
    joined: list[str]
    joined_to: str | None = None
    replays: str | None = None


class DeliveryView(Wire):
    """A delivery; `state` is that of its work, the newest where it was replayed."""

    id: str
    received_at: int
    repository: str
    issue: int
    trigger: str
    author: str
    state: str | None


class DeliveryDetail(DeliveryView):
    """One delivery with its work."""

    work: WorkView | None


class DeliveryList(Wire):
    """A page of deliveries, newest first."""

    deliveries: list[DeliveryView]
    next_page_token: str | None


class ReplayRequest(Wire):
    """The body of `POST /container/process-issue`."""

    delivery_id: DeliveryId


class SweepView(Wire):
    """What a sweep has set going."""

    workers: int
    sessions: int
    redeliveries: int
