"""What a store answers when it cannot do what it was asked, by whose fault it is."""

from collections.abc import Mapping

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError

# Long enough for a lock or a restart to pass, short enough for a person to wait.
RETRY_AFTER_SECONDS = 2


class AlreadyExistsError(CallerError):
    """A `Create` met a document that is there; nothing of its batch was written."""

    code = Code.CONFLICT

    def __init__(self, path: str) -> None:
        super().__init__("It already exists.", details={"path": path})
        self.path = path


class MissingError(CallerError):
    """An `Update` met no document; nothing of its batch was written."""

    code = Code.NOT_FOUND

    def __init__(self, path: str) -> None:
        super().__init__("It does not exist.", details={"path": path})
        self.path = path


class StoreUsageError(ClaudeRunError):
    """A path, value, query or transaction that the store does not do: a mistake of our code.

    Both implementations refuse the same things, so that code that ran on one runs on the other.
    """


class StoreUnavailableError(UpstreamError):
    """The store could not be reached, was too busy, or did not answer in time.

    `is_outcome_unknown`: the commit was sent and its answer lost; it may have been applied.
    """

    code = Code.UNAVAILABLE

    def __init__(self, reason: str, *, is_outcome_unknown: bool = False) -> None:
        details: Mapping[str, object] = {"reason": reason}
        super().__init__(
            "The store cannot answer at the moment.",
            details=details,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )
        self.reason = reason
        self.is_outcome_unknown = is_outcome_unknown
