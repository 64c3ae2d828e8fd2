"""Something that somebody asked on an issue, for tests to vary."""

from gateway.github.asked import Asked, RepositoryRef, Trigger

ASKED = Asked(
    repository=RepositoryRef(id=1, name="octo/app", installation_id=7, default_branch="main"),
    issue=12,
    is_pull=False,
    source="issue",
    trigger=Trigger.OPENED,
    author="ann",
    author_id=3,
    title="Mend @octo's #4",
    text="Please.",
    url="https://github.com/octo/app/issues/12",
)
