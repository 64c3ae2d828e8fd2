"""Cloud Run's own API: what a setting names there, how it is reached, what fails on the way."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self, TypeVar

from claude_run.errors import Code, ConfigurationError, UpstreamError

T = TypeVar("T")

# `?endpoint=` is for a server on this machine: there is no TLS to it.
_RESOURCE = re.compile(
    r"(?P<name>projects/[a-z0-9:.-]+/locations/[a-z0-9-]+/(?P<kind>services|jobs)/[a-z][a-z0-9-]*)"
    r"(\?endpoint=(?P<endpoint>(127\.0\.0\.1|localhost|\[::1\]):[0-9]{1,5}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """A service or a job by its full name."""

    name: str
    endpoint: str | None = None

    @classmethod
    def parse(cls, text: str, *, kind: str, setting: str) -> Self:
        """What a setting names, or `ConfigurationError`. `kind`: `services` or `jobs`."""
        found = _RESOURCE.fullmatch(text)
        if found is None or found["kind"] != kind:
            raise ConfigurationError(
                f"{setting} must be projects/PROJECT/locations/REGION/{kind}/NAME."
            )
        return cls(name=found["name"], endpoint=found["endpoint"])

    def transport(self, rest: Callable[..., T]) -> T:
        """A REST transport: one call in a while is not worth gRPC's threads."""
        from google.auth.credentials import AnonymousCredentials

        if self.endpoint is None:
            return rest()
        return rest(
            host=self.endpoint,
            url_scheme="http",
            credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        )


@contextmanager
def translated(what_not: str) -> Iterator[None]:
    """What fails inside is ours to tell, as: Google does not (`what_not`).

    Google's own text stays out: no rule says what is in it.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError
    from google.protobuf.json_format import ParseError  # type: ignore[import-untyped]
    from requests import RequestException

    try:
        yield
    # The last two the REST clients let through.
    except (GoogleAPICallError, GoogleAuthError, RequestException, ParseError) as error:
        raise UpstreamError(
            f"Google does not {what_not} ({type(error).__name__}).", code=Code.UNAVAILABLE
        ) from None
