"""Our own comment on an issue, and our reactions: made once, found again, changed. Only I/O."""

import threading
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from gateway.github.access import GitHubAccess
from gateway.github.asked import Asked, RepositoryRef
from gateway.github.failures import given, listing, mapping, translated
from gateway.github.marks import MAX_BODY
from gateway.github.tokens import Permissions
from gateway.issues.comment import mark
from gateway.work.record import WorkItem

WRITE: Permissions = {"issues": "write", "pull_requests": "write", "metadata": "read"}
# GitHub's clock and ours.
CLOCK_SKEW = timedelta(minutes=5)
# Comments written since the item was accepted, among which ours is looked for.
PAGE = 100
MAX_PAGES = 5


class Voice:
    """One for each process; safe under threads."""

    def __init__(self, access: GitHubAccess) -> None:
        self._access = access
        self._lock = threading.Lock()
        self._slug: str | None = None

    def begin(self, item: WorkItem, asked: Asked, body: str) -> int:
        """The comment of an item: made, or the one that an earlier try has made. Its number."""
        number = item.comment or self.found(item, asked)
        if number is not None:
            self.edit(asked.repository, number, body)
            return number
        made = self._ask(
            asked.repository, "POST", f"issues/{asked.issue}/comments", {"body": _fitting(body)}
        )
        return int(given(mapping(made).get("id")))

    def edit(self, repository: RepositoryRef, comment: int, body: str) -> None:
        """Change it; NOT_FOUND where somebody has deleted it."""
        self._ask(repository, "PATCH", f"issues/comments/{comment}", {"body": _fitting(body)})

    def react(self, asked: Asked, content: str) -> None:
        """A reaction on what asked; GitHub keeps one of a kind. A review can have none."""
        kind, _, number = asked.source.partition(":")
        path = {
            "issue": f"issues/{asked.issue}",
            "comment": f"issues/comments/{number}",
            "review_comment": f"pulls/comments/{number}",
        }.get(kind)
        if path is not None:
            self._ask(asked.repository, "POST", f"{path}/reactions", {"content": content})

    @property
    def slug(self) -> str:
        """Our App's name."""
        with self._lock:
            if self._slug is None:
                with translated():
                    self._slug = given(self._access.app().get_app().slug)
            return self._slug

    def found(self, item: WorkItem, asked: Asked) -> int | None:
        """The comment that an earlier try has made; None: there is none."""
        since = (item.created_at - CLOCK_SKEW).strftime("%Y-%m-%dT%H:%M:%SZ")
        for page in range(1, MAX_PAGES + 1):
            comments = listing(
                self._ask(
                    asked.repository,
                    "GET",
                    f"issues/{asked.issue}/comments?since={since}&per_page={PAGE}&page={page}",
                )
            )
            for comment in comments:
                # Anybody can write our mark, and the App may edit anybody's comment.
                is_ours = (comment.get("user") or {}).get("login") == f"{self.slug}[bot]"
                if is_ours and (comment.get("body") or "").startswith(mark(item.key)):
                    return int(comment["id"])
            if len(comments) < PAGE:
                return None
        return None

    # --- small things ------------------------------------------------------------------------

    def _ask(
        self,
        repository: RepositoryRef,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - GitHub's
        client = self._access.client(repository, WRITE)
        with translated():
            _, answer = client.requester.requestJsonAndCheck(
                method, f"/repos/{repository.name}/{path}", input=body
            )
        return answer


def _fitting(body: str) -> str:
    return body if len(body) <= MAX_BODY else body[: MAX_BODY - 1] + "…"
