"""How often a comment may be edited. Pure.

GitHub takes 500 requests an hour that create content, of each installation; comments, reactions
and what is published need some of them too.
"""

FIRST_SECONDS = 60.0
FIRST_INTERVAL = 5.0
INTERVAL = 30.0
# Of all edits of an installation in an hour.
EDITS_PER_HOUR = 360


def interval(elapsed: float, runs: int) -> float:
    """Seconds from one edit to the next, `elapsed` after the run began, beside `runs` in all.

    With few runs that is 5 s in the first minute, then 30 s.
    """
    fair = 3600.0 * max(1, runs) / EDITS_PER_HOUR
    if elapsed < FIRST_SECONDS:
        # The first minute is a small part of an hour: twice what is fair, and more for one alone.
        return max(FIRST_INTERVAL, fair / 2)
    return max(INTERVAL, fair)
