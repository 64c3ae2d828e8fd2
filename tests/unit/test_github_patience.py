"""When a request to GitHub is made again: as GitHub asks, and never where it might do harm."""

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.github.patience import BACKOFF_SECONDS, LIMITED_SECONDS, Failure, pause

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
EPOCH = int(NOW.timestamp())


def failure(status: int | None, method: str = "GET", path: str = "/x", **headers: str) -> Failure:
    """A failure of a request."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Failure(method=method, path=path, status=status, headers=named)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (403, {"retry_after": "7"}, 7.0),
        (429, {"retry_after": "7"}, 7.0),
        (429, {"retry_after": "Wed, 25 Nov 2026 12:00:30 GMT"}, 30.0),
        (429, {}, LIMITED_SECONDS),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": f"{EPOCH + 40}"}, 41.0),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": f"{EPOCH - 9}"}, 1.0),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "soon"}, LIMITED_SECONDS),
        # The header that GitHub names first wins.
        (403, {"retry_after": "5", "x_ratelimit_remaining": "0"}, 5.0),
        # A 403 that is no limit is an answer.
        (403, {}, None),
        (403, {"x_ratelimit_remaining": "4000"}, None),
        (500, {}, BACKOFF_SECONDS[0]),
        (502, {"retry_after": "20"}, 20.0),
        (404, {"retry_after": "20"}, None),
        (422, {}, None),
        (None, {}, BACKOFF_SECONDS[0]),
    ],
)
def test_it_waits_as_github_asks(
    status: int | None, headers: Mapping[str, str], seconds: float | None
) -> None:
    """Limits by their headers, outages by a backoff, answers not at all."""
    assert pause(failure(status, **headers), 0, NOW) == seconds


@pytest.mark.parametrize("status", [500, 502, None])
@pytest.mark.parametrize(
    ("method", "path", "again"),
    [
        ("POST", "/repos/o/r/issues/1/comments", False),
        ("POST", "/repos/o/r/pulls", False),
        ("POST", "/repos/o/r/git/refs", False),
        ("POST", "/repos/o/r/git/blobs", True),
        ("POST", "/repos/o/r/git/trees", True),
        ("POST", "/app/installations/1/access_tokens", True),
        ("POST", "/repos/o/r/issues/1/reactions", True),
        ("PATCH", "/repos/o/r/issues/comments/1", True),
        ("GET", "/repos/o/r?x=/git/refs", True),
    ],
)
def test_what_may_have_been_obeyed_is_not_asked_twice(
    method: str, path: str, again: bool, status: int | None
) -> None:
    """Unless a second time does no harm; a refusal for a limit was not obeyed."""
    asked = failure(status, method, path)
    assert (pause(asked, 0, NOW) is not None) is again
    assert pause(failure(429, method, path, retry_after="1"), 0, NOW) == 1.0


def test_what_was_never_sent_may_be_sent() -> None:
    """No connection: nobody has obeyed anything."""
    unsent = Failure(method="POST", path="/repos/o/r/pulls", headers={}, sent=False)
    assert pause(unsent, 0, NOW) == BACKOFF_SECONDS[0]


@settings(deadline=None)
@given(
    status=st.one_of(st.none(), st.integers(400, 599)),
    headers=st.dictionaries(
        st.sampled_from(["retry-after", "x-ratelimit-remaining", "x-ratelimit-reset"]),
        st.one_of(
            st.text("0179 ,:+-GMTWed٣", max_size=20), st.integers(-(10**15), 10**15).map(str)
        ),
    ),
    attempt=st.integers(0, 10),
)
def test_no_header_breaks_it(status: int | None, headers: Mapping[str, str], attempt: int) -> None:
    """A wait is never negative, and outages are tried a few times only."""
    asked = Failure(method="GET", path="/x", status=status, headers=headers)
    seconds = pause(asked, attempt, NOW)
    assert seconds is None or seconds >= 0
    if not asked.limited and attempt >= len(BACKOFF_SECONDS):
        assert seconds is None
