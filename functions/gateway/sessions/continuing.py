"""What a turn begins with: its request, the stored key, and what the turns before have kept."""

from typing import Any

from claude_run.wire import Changes
from gateway.requests import MessageRequest, StartRequest, to_run_options
from gateway.sessions import blobs
from gateway.sessions.record import Session
from gateway.setup.claude_key import ANTHROPIC_KEY
from gateway.store import Store
from gateway.vault import Vault


def run_options(
    store: Store, vault: Vault, request: StartRequest | MessageRequest, *, session: Session | None
) -> dict[str, Any]:
    """The options of the runner's client; `session` is the one that is continued."""
    resume: dict[str, Any] | None = None
    changes: Any = None
    if session is not None and session.runner_session is not None:
        parts = [
            part for value in blobs.read(store, f"{session.path}/transcript") for part in value
        ]
        if parts:
            resume = {"sessionId": session.runner_session, "transcript": parts}
        changes = kept_changes(store, session)
    options = to_run_options(
        request,
        earlier=session.options if session else {},
        repository=session.repository if session else None,
        resume=resume,
        changes=changes,
    )
    if "anthropic_api_key" not in options and (key := vault.get(ANTHROPIC_KEY)):
        options["anthropic_api_key"] = key
    return options


def kept_changes(store: Store, session: Session) -> Any:  # noqa: ANN401 - a JSON value
    """The last change set that the session has kept, as JSON; None: there is none."""
    if session.changes_version is None:
        return None
    stored = blobs.read(store, f"{session.path}/changes", prefix=session.changes_version)
    return next(stored, None)


def begins_with(options: dict[str, Any]) -> Changes | None:
    """The change set among a turn's options."""
    value = options.get("changes")
    return Changes.model_validate(value) if value is not None else None
