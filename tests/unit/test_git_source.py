"""Which URLs may be cloned from, and which commit a request means."""

import pytest

from claude_run.errors import CallerError, Code
from claude_run.wire import Changes, Repository
from runner.git.source import CloneSource, check_clone_url, resolve_source

HOSTS = frozenset({"github.com", "git.example.com:8443", "127.0.0.1", "xn--bcher-kva.example"})
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def check(url: str, *, loopback: bool = True) -> CloneSource:
    return check_clone_url(url, allowed_hosts=HOSTS, allow_loopback_http=loopback)


@pytest.mark.parametrize(
    ("url", "clean", "origin"),
    [
        ("https://github.com/o/r", "https://github.com/o/r", "https://github.com"),
        ("HTTPS://GitHub.com/o/R.git", "https://github.com/o/R.git", "https://github.com"),
        ("https://github.com:443/o/r", "https://github.com/o/r", "https://github.com"),
        ("https://git.example.com:8443/a/b/c/", "https://git.example.com:8443/a/b/c/",
         "https://git.example.com:8443"),
        ("https://xn--bcher-kva.example/o/r", "https://xn--bcher-kva.example/o/r",
         "https://xn--bcher-kva.example"),
        ("https://github.com/org/My%20Project/_git/r", "https://github.com/org/My%20Project/_git/r",
         "https://github.com"),
        ("http://127.0.0.1:8123/o/r", "http://127.0.0.1:8123/o/r", "http://127.0.0.1:8123"),
    ],
)  # fmt: skip
def test_allowed_urls_are_normalised(url: str, clean: str, origin: str) -> None:
    """Case and default ports do not matter; the origin is what a token is scoped to."""
    assert check(url) == CloneSource(url=clean, origin=origin)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc",
        "ssh://git@github.com/o/r",
        "git://github.com/o/r",
        "git@github.com:o/r",
        "ext::sh -c id",
        "ext::sh%20-c%20id",
        "https::https://github.com/o/r",
        "--upload-pack=id",
        "-u",
        "/etc/passwd",
        "../r",
        "",
        "https://",
        "https:///o/r",
        "https://github.com",
        "https://github.com/",
        "https://github.com//o/r",
        "https://github.com/o/../../r",
        "https://github.com/o/%2e%2e/r",
        "https://github.com/o/%2E./r",
        "https://github.com/o/%2f%2e%2e%2fr",
        "https://github.com/o/r%00",
        "https://github.com/o/r%0a",
        "https://github.com/o/r%5c",
        "https://github.com/o/r%252e",
        "https://github.com/o/%zz",
        "https://github.com/-o/r",
        "https://github.com/o/r?x=1",
        "https://github.com/o/r#x",
        "https://user@github.com/o/r",
        "https://user:pass@github.com/o/r",
        "https://github.com@evil.example/o/r",
        "https://github.com:443@evil.example/o/r",
        "https://evil.example\\@github.com/o/r",
        "https://github.com\\o/r",
        "https://github.com./o/r",
        "https://.github.com/o/r",
        "https://www.github.com/o/r",
        "https://github.com.evil.example/o/r",
        "https://github.com:8443/o/r",
        "https://github.com:/o/r",
        "https://github.com:99999999/o/r",
        "https://git.example.com/o/r",
        "https://[::1/o/r",
        "https://g\u0131thub.com/o/r",
        "https://github\u3002com/o/r",
        "https://github.com/o/r\n",
        "https://github.com/o r",
        "https://github.com/o/\u202er",
        'https://github.com/o/"r',
        "http://github.com/o/r",
        "http://127.0.0.1.evil.example/o/r",
        "http://localhost:8123/o/r",
        "http://[::1]:8123/o/r",
        "http://2130706433/o/r",
        "https://github.com/" + "a" * 2048,
    ],
)
def test_everything_else_is_refused(url: str) -> None:
    """Other transports, other hosts, and whatever two readers could understand differently."""
    with pytest.raises(CallerError) as caught:
        check(url)
    assert caught.value.code is Code.VALIDATION_ERROR
    assert caught.value.details["field"] == "repository.url"
    assert caught.value.details["rule"]


def test_loopback_http_is_for_laptops() -> None:
    """On Cloud Run plain http is refused even for a listed loopback host."""
    with pytest.raises(CallerError, match="https"):
        check("http://127.0.0.1:8123/o/r", loopback=False)


def resolve(repository: Repository, changes: Changes | None = None) -> CloneSource:
    return resolve_source(
        repository,
        changes,
        server_url="https://git.corp.example/",
        allowed_hosts=HOSTS,
        allow_loopback_http=False,
    )


def test_a_name_is_looked_for_on_the_operators_server() -> None:
    """The operator's own server need not be on the list a second time."""
    source = resolve(Repository(name="octo/hello", branch="dev"))
    assert (source.url, source.branch) == ("https://git.corp.example/octo/hello", "dev")


def test_a_name_that_climbs_is_refused_by_its_field() -> None:
    """The URL is checked again once it is made, whatever the request's own rules let through."""
    with pytest.raises(CallerError) as caught:
        resolve(Repository.model_construct(url=None, name="octo/.."))
    assert caught.value.details["field"] == "repository.name"


def test_the_base_of_the_changes_is_what_is_checked_out() -> None:
    """A branch moves between two turns; the change set fits one commit only."""
    changes = Changes(base=COMMIT, files=[])
    source = resolve(Repository(url="https://github.com/o/r", branch="main"), changes)
    assert (source.commit, source.branch) == (COMMIT, "main")


@pytest.mark.parametrize("base", [None, "f" * 40])
def test_changes_of_another_commit_are_refused(base: str | None) -> None:
    """Reapplied elsewhere they would undo somebody's work without a trace."""
    repository = Repository(url="https://github.com/o/r", commit=COMMIT)
    with pytest.raises(CallerError) as caught:
        resolve(repository, Changes(base=base, files=[]))
    assert caught.value.details["field"] == "changes.base"
