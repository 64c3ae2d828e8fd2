"""The page of a list, newest first: the token that asks for what comes behind its last entry. Pure.

A moment alone would not do: of two entries of one microsecond, at the end of a page and behind it,
the second would be lost.
"""

import base64
import re
from datetime import UTC, datetime, timedelta

from gateway.store import Cursor

# Of the alphabet that a query takes as it is.
PAGE_PATTERN = "^[A-Za-z0-9_-]{4,256}$"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
# Microseconds since 1970, until the year 2286; a document's id.
_PLACE = re.compile(rb"(0|[1-9][0-9]{0,15})\.([A-Za-z0-9_.-]{1,128})")


def page_token(moment: datetime, document_id: str) -> str:
    """What asks for the entries behind this one."""
    place = f"{(moment - _EPOCH) // _MICROSECOND}.{document_id}".encode()
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def place_of(token: str) -> Cursor:
    """The place that a token names; `ValueError` for one that `page_token` never gave."""
    if not re.fullmatch(PAGE_PATTERN.removeprefix("^").removesuffix("$"), token):
        raise ValueError("not of our alphabet")
    found = _PLACE.fullmatch(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    if found is None:
        raise ValueError("not a place")
    cursor = Cursor(id=found[2].decode(), value=_EPOCH + int(found[1]) * _MICROSECOND)
    # Base64 has several forms of some bytes; one of them is ours.
    if page_token(_EPOCH + int(found[1]) * _MICROSECOND, cursor.id) != token:
        raise ValueError("not our form")
    return cursor
