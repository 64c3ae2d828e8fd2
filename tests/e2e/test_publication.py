"""A change set becomes a commit, a branch and a pull request, once, whatever happens meanwhile."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import pytest

from claude_run.errors import CallerError, ClaudeRunError, Code, UpstreamError
from claude_run.wire import Changes, FileChange
from doubles.git_server import git
from doubles.github import BOT, GitHub, Repository, user_token
from doubles.github_front import Fault
from gateway.github import publication as publication_module
from gateway.github.access import READ, GitHubAccess
from gateway.github.credentials import AppKey
from gateway.github.marks import MAX_TITLE
from gateway.github.policy import HeldBack, Policy
from gateway.github.publication import PERMISSIONS, Publication, Published, Publisher
from gateway.github.tree import MAX_ENTRIES

pytestmark = pytest.mark.e2e

EVER = 10_000


@dataclass
class Desk:
    """A publisher, and how long it has waited."""

    github: GitHub
    access: GitHubAccess
    slept: list[float] = field(default_factory=list)

    @property
    def publisher(self) -> Publisher:
        """What is under test."""
        return Publisher(access=self.access, policy=Policy(), sleep=self.slept.append)

    def publish(self, publication: Publication, *, token: str | None = None) -> Published:
        """Publish."""
        return self.publisher.publish(publication, token=token)

    def lines(self, repository: Repository) -> list[str]:
        """What GitHub was asked about a repository."""
        prefix = f"/repos/{repository.name}"
        return [one.line.replace(prefix, "") for one in self.github.requests(repository)]

    def writes(self, repository: Repository) -> list[str]:
        """What was written there."""
        return [line for line in self.lines(repository) if not line.startswith("GET")]


@pytest.fixture
def desk(github: GitHub) -> Iterator[Desk]:
    """It does not really wait."""
    key = AppKey(app_id=github.app_id, private_key=github.private_key)
    slept = list[float]()
    access = GitHubAccess(settings=github.settings, key=lambda: key, sleep=slept.append)
    yield Desk(github=github, access=access, slept=slept)
    access.close()


def changed(path: str, content: bytes | str | None, mode: str = "100644") -> FileChange:
    """One change; None: it goes."""
    if content is None:
        return FileChange(path=path, deleted=True)
    raw = content.encode() if isinstance(content, str) else content
    return FileChange(path=path, mode=mode, content=base64.b64encode(raw).decode())  # type: ignore[arg-type]


def listed(held_back: Sequence[HeldBack]) -> str:
    """A pull request's text."""
    return "\n".join(["Fixes #7", *(f"- {one.path}: {one.rule}" for one in held_back)])


def asked(
    repository: Repository,
    files: Mapping[str, bytes | str | None] | Sequence[FileChange],
    **other: object,
) -> Publication:
    """What a run on `main` would ask for."""
    base = str(other.pop("base", repository.tip()))
    if isinstance(files, Mapping):
        files = [changed(path, content) for path, content in files.items()]
    return replace(
        Publication(
            repository=repository.ref,
            base=base,
            target="main",
            branch="claude/issue-7-fix",
            changes=Changes(base=base, files=list(files)),
            title="Fix it",
            body=listed,
            message="Fix it\n\nAs asked.",
        ),
        **other,  # type: ignore[arg-type]
    )


def test_everything_survives(github: GitHub, desk: Desk) -> None:
    """The tree is the one that git makes of the same files; the commit is GitHub's to sign."""
    repository = github.create(
        {
            "keep": "kept",
            "gone": "x",
            "both/kept": "x",
            "both/gone": "y",
            "was/folder": "z",
            "was-file": "f",
        }
    )
    base = repository.tip()
    changes = [
        changed("gone", None),
        changed("both/gone", None),
        changed("was/folder", None),
        changed("was", "now a file"),
        changed("was-file", None),
        changed("was-file/in", "a folder"),
        changed("run.sh", "#!/bin/sh\r\n", "100755"),
        changed("a/link", "../keep", "120000"),
        changed("bytes", bytes(range(256))),
        changed("empty", ""),
        changed("long", "ü" * 60_000),
        changed("a b/日本 'quoted'.txt", "\ufeffBOM\n"),
    ]
    published = desk.publish(asked(repository, changes, draft=True))

    folder = repository.origin.folder
    for path in ("gone", "both/gone", "was/folder", "was-file"):
        (folder / path).unlink()
    (folder / "was").rmdir()
    for one in changes:
        if one.mode == "120000":
            (folder / "a").mkdir()
            (folder / "a/link").symlink_to("../keep")
        elif not one.deleted:
            executable = 0o755 if one.mode == "100755" else 0o644
            repository.origin.write(one.path or "", one.raw_content, mode=executable)
    git("add", "--all", ".", cwd=folder)
    bare = repository.origin.bare
    assert git("rev-parse", "claude/issue-7-fix^{tree}", cwd=bare) == git("write-tree", cwd=folder)
    assert git("rev-parse", "claude/issue-7-fix^", cwd=bare) == base

    commit = repository.api("GET", f"git/commits/{published.commit}")
    assert commit["verification"]["verified"] is True
    assert commit["author"]["name"] == github.slug
    assert commit["message"].startswith("Fix it\n\nAs asked.\n\nClaude-Run-Change: ")
    (pull,) = repository.pulls()
    assert (pull["number"], pull["html_url"]) == (published.number, published.url)
    assert (pull["base"]["ref"], pull["head"]["ref"]) == ("main", "claude/issue-7-fix")
    assert (pull["title"], pull["draft"], pull["user"]["login"]) == ("Fix it", True, BOT)
    assert pull["body"].startswith("Fixes #7\n\n<!-- claude-run:")
    assert pull["head"]["sha"] == published.commit
    assert set(published.files) == {one.path for one in changes}


def test_publishing_again_finds_what_is_there(github: GitHub, desk: Desk) -> None:
    """One commit, one branch, one pull request, also where that was closed meanwhile."""
    repository = github.create()
    publication = asked(repository, {"new": "x"})
    first = desk.publish(publication)
    again = desk.publish(publication)
    assert again == first
    made = [line for line in desk.writes(repository) if "trees" not in line]
    assert made == ["POST /git/commits", "POST /git/refs", "POST /pulls"]
    repository.api("PATCH", f"pulls/{first.number}", {"state": "closed"})
    assert desk.publish(publication).number == first.number
    assert len(repository.pulls()) == 1


def test_a_crash_at_any_point_doubles_nothing(github: GitHub, desk: Desk) -> None:
    """Before or after GitHub has obeyed the n-th request: the next try brings the same result."""
    repository = github.create()
    bare, line = repository.origin.bare, rf"\w+ /repos/{repository.name}"
    files: dict[str, bytes | str | None] = {"new": "x", "bytes": b"\0"}
    desk.publish(asked(repository, files, branch="whole"))
    count = len(github.requests(repository))
    assert count >= 9
    branches = [f"{lost}-{number}" for lost in ("asked", "answered") for number in range(count)]
    for branch in branches:
        publication = asked(repository, files, branch=branch, draft=True)
        lost, _, number = branch.partition("-")
        dead = Fault(match=line, skip=int(number), times=EVER, lost=lost)  # type: ignore[arg-type]
        with github.faults(dead), pytest.raises(UpstreamError):
            desk.publish(publication)
        published = desk.publish(publication)
        assert repository.files(published.branch)["new"] == ("100644", b"x")
        assert git("rev-list", "--count", f"main..{branch}", cwd=bare) == "1"
    heads = [pull["head"]["ref"] for pull in repository.pulls()]
    assert heads == ["whole", *branches]
    assert len(repository.api("GET", "branches?per_page=100")) == len(heads) + 1


def test_a_tree_of_nothing_is_not_built_on(github: GitHub, desk: Desk) -> None:
    """Of a large change set the second part would be all that is left of the repository."""
    repository = github.create()
    publication = asked(repository, {f"f{number:03}": "x" for number in range(MAX_ENTRIES + 1)})
    line = f"POST /repos/{repository.name}/git/trees"
    page = Fault(match=line, status=200, body={"data": "<html>"})
    with github.faults(page), pytest.raises(UpstreamError):
        desk.publish(publication)
    assert len([one for one in desk.lines(repository) if one == "POST /git/trees"]) == 1
    files = repository.files(desk.publish(publication).branch)
    assert len(files) == MAX_ENTRIES + 2
    assert "README.md" in files


def test_a_title_is_cut(github: GitHub, desk: Desk) -> None:
    """GitHub refuses one that is too long."""
    repository = github.create()
    desk.publish(asked(repository, {"one": "1"}, title="x" * 300))
    assert [pull["title"] for pull in repository.pulls()] == ["x" * MAX_TITLE]


@pytest.mark.parametrize("page", [{"data": "<html>"}, [], None])
def test_an_answer_of_somebody_between_ends_nothing(
    github: GitHub, desk: Desk, page: object
) -> None:
    """Nothing is taken for GitHub's word: the try is one to be made again, and then it succeeds.

    A page of HTML is what PyGithub makes of it.
    """
    repository = github.create()
    line = rf"\w+ /repos/{repository.name}"
    files: dict[str, bytes | str | None] = {"new": "x", "bytes": b"\0"}
    desk.publish(asked(repository, files, branch="whole"))
    count = len(github.requests(repository))
    for number in range(count):
        publication = asked(repository, files, branch=f"nonsense-{number}")
        fault = Fault(match=line, skip=number, status=200, body=page)
        with github.faults(fault), suppress(UpstreamError):
            assert desk.publish(publication).number is not None
        published = desk.publish(publication)
        assert repository.tip(published.branch) == published.commit
        assert published.number is not None
    assert len(repository.pulls()) == count + 1


@pytest.mark.parametrize("lost", ["asked", "answered"])
@pytest.mark.parametrize("line", ["POST .*/git/refs", "POST .*/pulls", "GET .*", "POST .*/git/.*"])
def test_one_lost_answer_is_looked_after(github: GitHub, desk: Desk, line: str, lost: str) -> None:
    """In the same try: what was made is found, what was not is made."""
    repository = github.create()
    fault = Fault(match=line.replace(".*", f"/repos/{repository.name}.*", 1), lost=lost)  # type: ignore[arg-type]
    with github.faults(fault):
        published = desk.publish(asked(repository, {"new": "x"}))
    assert repository.tip(published.branch) == published.commit
    assert len(repository.pulls()) == 1


def test_the_next_turn_adds_a_commit(github: GitHub, desk: Desk) -> None:
    """Its change set is against the first base and whole; a text of ours is brought up to date."""
    repository = github.create({"README.md": "hello", "other": "x"})
    base = repository.tip()
    first = desk.publish(asked(repository, {"one": "1", "other": None}, draft=True))
    repository.commit({"elsewhere": "main has moved"})
    second = desk.publish(
        asked(repository, {"one": "1!", ".gitlab-ci.yml": "x"}, base=base, message="More")
    )
    assert (second.branch, second.number) == (first.branch, first.number)
    bare = repository.origin.bare
    parents = git("rev-list", second.commit or "", cwd=bare).split()
    assert parents[:3] == [second.commit, first.commit, base]
    assert repository.files(second.branch) == {
        "README.md": ("100644", b"hello"),
        "other": ("100644", b"x"),
        "one": ("100644", b"1!"),
    }
    (pull,) = repository.pulls()
    assert (pull["draft"], second.held_back[0].path) == (False, ".gitlab-ci.yml")
    assert "- .gitlab-ci.yml: this place is protected" in pull["body"]

    # Back to where it began: that is a commit too.
    third = desk.publish(asked(repository, {}, base=base))
    assert repository.files(third.branch) == repository.files(base or "")
    assert git("rev-parse", f"{third.commit}^", cwd=bare) == second.commit


def test_somebodys_own_words_stay(github: GitHub, desk: Desk) -> None:
    """A pull request's text that was edited, by whatever editor, is not ours any more."""
    repository = github.create()
    base = repository.tip()
    first = desk.publish(asked(repository, {"one": "1"}))
    body = repository.pulls()[0]["body"]
    # What a browser sends is the same text.
    repository.api("PATCH", f"pulls/{first.number}", {"body": body.replace("\n", "\r\n")})
    desk.publish(asked(repository, {"one": "2", "Jenkinsfile": "x"}, base=base))
    assert "Jenkinsfile" in repository.pulls()[0]["body"]
    repository.api("PATCH", f"pulls/{first.number}", {"body": f"Mine. {body}"})
    desk.publish(asked(repository, {"one": "3"}, base=base))
    assert repository.pulls()[0]["body"] == f"Mine. {body}"


def push(repository: Repository, branch: str, path: str) -> str:
    """Somebody else's commit on a branch."""
    folder, bare = repository.origin.folder, repository.origin.bare
    git("fetch", "--quiet", str(bare), branch, cwd=folder)
    git("checkout", "--quiet", "--detach", "FETCH_HEAD", cwd=folder)
    repository.origin.write(path, "theirs")
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "-m", "Theirs", cwd=folder)
    git("push", "--quiet", str(bare), f"HEAD:refs/heads/{branch}", cwd=folder)
    git("checkout", "--quiet", "main", cwd=folder)
    repository.github.front.mirrors[repository.name].up()
    return repository.tip(branch) or ""


def test_what_others_have_pushed_is_not_written_over(github: GitHub, desk: Desk) -> None:
    """The next turn begins there and comes on top; if it did not, it gets a branch of its own."""
    repository = github.create()
    base = repository.tip() or ""
    first = desk.publish(asked(repository, {"one": "1"}))
    publisher = desk.publisher
    assert publisher.foreign_head(repository.ref, first.branch, base) is None
    theirs = push(repository, first.branch, "theirs")
    assert publisher.foreign_head(repository.ref, first.branch, base) == theirs
    # Nothing new: what was published is still there, beneath.
    assert desk.publish(asked(repository, {"one": "1"}, base=base)) == first

    aside = desk.publish(asked(repository, {"one": "2"}, base=base))
    assert (aside.branch, aside.number != first.number) == (f"{first.branch}-2", True)
    assert repository.tip(first.branch) == theirs
    again = desk.publish(asked(repository, {"one": "3"}, base=base))
    assert (again.branch, again.number) == (aside.branch, aside.number)

    on_top = desk.publish(asked(repository, {"one": "4"}, base=theirs))
    assert (on_top.branch, on_top.number) == (first.branch, first.number)
    assert git("rev-parse", f"{on_top.commit}^", cwd=repository.origin.bare) == theirs
    assert set(repository.files(first.branch)) == {"README.md", "one", "theirs"}
    assert publisher.foreign_head(repository.ref, first.branch, theirs) is None
    more = desk.publish(asked(repository, {"one": "5"}, base=theirs))
    assert git("rev-parse", f"{more.commit}^", cwd=repository.origin.bare) == on_top.commit


def test_it_looks_only_so_far_for_a_place(
    github: GitHub, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beneath a few commits, on a few branches; then somebody has to say what is to become of it.

    Nothing of anybody's is written over meanwhile.
    """
    monkeypatch.setattr(publication_module, "MAX_ON_TOP", 2)
    monkeypatch.setattr(publication_module, "MAX_BRANCHES", 2)
    repository = github.create()
    publication = asked(repository, {"one": "1"})
    first = desk.publish(publication)
    for name in ("a", "b"):
        push(repository, first.branch, name)
        assert desk.publish(publication) == first
    tips = [push(repository, first.branch, "c")]
    second = desk.publish(publication)
    assert second.branch == f"{first.branch}-2"
    tips.append([push(repository, second.branch, name) for name in ("a", "b", "c")][-1])
    with pytest.raises(CallerError) as caught:
        desk.publish(publication)
    assert caught.value.code is Code.CONFLICT
    assert first.branch in caught.value.message
    assert [repository.tip(one.branch) for one in (first, second)] == tips
    assert len(repository.pulls()) == 2


def test_what_others_push_at_the_last_moment_is_not_written_over(
    github: GitHub, desk: Desk
) -> None:
    """Between our look at the branch and our move of it."""
    repository = github.create()
    base = repository.tip() or ""
    first = desk.publish(asked(repository, {"one": "1"}))
    theirs = list[str]()

    def proceed() -> None:
        if not theirs and desk.writes(repository).count("POST /git/commits") == 2:
            theirs.append(push(repository, first.branch, "theirs"))

    publication = asked(repository, {"one": "2"}, base=base)
    aside = desk.publisher.publish(publication, proceed=proceed)
    assert theirs == [repository.tip(first.branch)]
    assert aside.branch == f"{first.branch}-2"


def test_a_commit_that_was_made_again_is_not_ours(github: GitHub, desk: Desk) -> None:
    """Amended, even with our trailer: its tree or its parent tells."""
    repository = github.create()
    base = repository.tip() or ""
    first = desk.publish(asked(repository, {"one": "1"}))
    folder, bare = repository.origin.folder, repository.origin.bare
    git("fetch", "--quiet", str(bare), first.branch, cwd=folder)
    git("checkout", "--quiet", "--detach", "FETCH_HEAD", cwd=folder)
    repository.origin.write("two", "2")
    git("add", ".", cwd=folder)
    git("commit", "--quiet", "--amend", "--no-edit", cwd=folder)
    git("push", "--quiet", "--force", str(bare), f"HEAD:refs/heads/{first.branch}", cwd=folder)
    repository.github.front.mirrors[repository.name].up()
    amended = repository.tip(first.branch)
    assert desk.publisher.foreign_head(repository.ref, first.branch, base) == amended
    desk.publish(asked(repository, {"one": "2"}, base=base))
    assert repository.tip(first.branch) == amended


def test_on_somebodys_pull_request_it_goes_into_their_branch(github: GitHub, desk: Desk) -> None:
    """A branch of ours from its head, and a pull request into it."""
    repository = github.create()
    main = repository.tip()
    repository.api("POST", "git/refs", {"ref": "refs/heads/theirs", "sha": main})
    head = push(repository, "theirs", "feature")
    theirs = repository.open_pull("theirs")
    published = desk.publish(asked(repository, {"fix": "x"}, base=head, target="theirs"))
    pull = repository.api("GET", f"pulls/{published.number}")
    assert (pull["base"]["ref"], published.number != theirs["number"]) == ("theirs", True)
    assert set(repository.files(published.branch)) == {"README.md", "feature", "fix"}
    assert repository.tip("theirs") == head


def test_what_is_held_back_is_not_there_and_is_told(github: GitHub, desk: Desk) -> None:
    """With its rule; and where nothing is left, nothing is published."""
    repository = github.create()
    files = {".github/workflows/x.yml": "x", "fine": "y"}
    published = desk.publish(asked(repository, files))
    assert set(repository.files(published.branch)) == {"README.md", "fine"}
    assert "- .github/workflows/x.yml: this place is protected" in repository.pulls()[0]["body"]
    other = github.create()
    nothing = desk.publish(asked(other, {".github/workflows/x.yml": "x"}))
    assert (nothing.commit, nothing.url, len(nothing.held_back)) == (None, None, 1)
    same = desk.publish(asked(other, {"README.md": other.files()["README.md"][1]}))
    assert (same.commit, same.url, desk.writes(other)) == (None, None, ["POST /git/trees"])


def test_many_blobs_are_paced_and_each_is_sent_once(github: GitHub, desk: Desk) -> None:
    """GitHub takes so many a minute."""
    repository = github.create()
    files = {f"f{number}": bytes([0, number % 50]) for number in range(60)}
    published = desk.publish(asked(repository, files))
    assert len(repository.files(published.branch)) == 61
    writes = desk.writes(repository)
    assert writes.count("POST /git/blobs") == 50
    assert sum(desk.slept) >= 50 * 0.75


def test_drafts_are_given_up_where_there_are_none(github: GitHub, desk: Desk) -> None:
    """Some plans know no drafts in private repositories."""
    repository = github.create()
    body = {"message": "Draft pull requests are not supported in this repository."}
    line = f"POST /repos/{repository.name}/pulls"
    with github.faults(Fault(match=line, status=422, body=body)):
        published = desk.publish(asked(repository, {"new": "x"}, draft=True))
    assert (published.draft, len(repository.pulls())) == (False, 1)


def test_a_branch_that_moves_while_it_is_written_is_looked_at_again(
    github: GitHub, desk: Desk
) -> None:
    """A refusal to move it is no failure yet."""
    repository = github.create()
    base = repository.tip()
    desk.publish(asked(repository, {"new": "x"}))
    line = f"PATCH /repos/{repository.name}/git/refs"
    refusal = Fault(match=line, status=422, body={"message": "Update is not a fast forward"})
    with github.faults(refusal):
        published = desk.publish(asked(repository, {"new": "y"}, base=base))
    assert repository.files(published.branch)["new"] == ("100644", b"y")
    with github.faults(replace(refusal, times=EVER)), pytest.raises(CallerError) as caught:
        desk.publish(asked(repository, {"new": "z"}, base=base))
    assert caught.value.code is Code.CONFLICT


def test_a_callers_own_token_publishes_as_the_caller(github: GitHub, desk: Desk) -> None:
    """In any repository that they may write to, whether the App is there or not."""
    repository = github.create(owner="hermit")
    with pytest.raises(CallerError) as caught:
        desk.access.find(repository.name)
    assert "not installed" in caught.value.message
    token = user_token("hermit")
    publication = asked(repository, {"new": "x"})
    published = desk.publish(publication, token=token)
    assert desk.publish(publication, token=token) == published
    assert repository.pulls()[0]["user"]["login"] == "hermit"
    with pytest.raises(ClaudeRunError) as refused:
        desk.publish(publication, token=user_token("stranger"))
    assert refused.value.code is Code.FORBIDDEN


def test_a_repository_is_found_by_its_name_and_known_by_its_number(
    github: GitHub, desk: Desk
) -> None:
    """Another one under the same name is not written to."""
    repository = github.create(private=True)
    assert desk.access.find(repository.name) == repository.ref
    assert desk.access.repository(repository.ref, READ).full_name == repository.name
    moved = replace(repository.ref, id=github.create().ref.id)
    with pytest.raises(CallerError) as caught:
        desk.publish(replace(asked(repository, {"new": "x"}), repository=moved))
    assert caught.value.code in (Code.NOT_FOUND, Code.FORBIDDEN)
    assert repository.pulls() == []


def test_tokens_are_githubs_and_renewed(github: GitHub, desk: Desk) -> None:
    """They are long; one that GitHub has forgotten is replaced at the next try."""
    repository = github.create()
    token = desk.access.token(repository.ref, PERMISSIONS)
    assert len(token) > 500
    assert "." in token
    assert desk.access.token(repository.ref, PERMISSIONS) == token
    github.front.grants.clear()
    with pytest.raises(UpstreamError) as caught:
        desk.publish(asked(repository, {"new": "x"}))
    assert caught.value.code is Code.UPSTREAM_AUTH
    assert desk.publish(asked(repository, {"new": "x"})).number == 1


def test_it_can_be_ended_between_any_two_requests(github: GitHub, desk: Desk) -> None:
    """By whatever `proceed` raises."""
    repository = github.create()
    left = iter(range(3))

    def proceed() -> None:
        if next(left, None) is None:
            raise UpstreamError("No time left.")

    with pytest.raises(UpstreamError, match="No time left"):
        desk.publisher.publish(asked(repository, {"new": "x"}), proceed=proceed)
    assert repository.pulls() == []
