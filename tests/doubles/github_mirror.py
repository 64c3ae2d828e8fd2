"""One repository in two places: emulate's memory, which the API shows, and a bare repository,
which git clones from. Objects have the same ids in both, or this raises.
"""

import base64
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from doubles.git_server import git

# Method, path below the repository, body; the answer's JSON, or None for 404.
Api = Callable[[str, str, Any], Any]

_PERSON = re.compile(r"(?P<name>.*) <(?P<email>.*)> (?P<seconds>[0-9]+) (?P<zone>[+-][0-9]{4})")


@dataclass(slots=True)
class Mirror:
    """Carries objects and branches of one repository, either way."""

    bare: Path
    api: Api
    _there: set[str] = field(default_factory=set)  # the ids that emulate has

    def up(self) -> None:
        """What its author has pushed, into emulate."""
        for commit in self._git("rev-list", "--topo-order", "--reverse", "--all").split():
            if commit not in self._there:
                self._commit_up(commit)
        for branch, commit in self._heads().items():
            self._branch_up(branch, commit)

    def down(self) -> None:
        """What was published through the API, into the bare repository."""
        refs = self.api("GET", "git/matching-refs/heads", None)
        shown = {found["ref"]: found["object"]["sha"] for found in refs}
        for ref, commit in shown.items():
            self._commit_down(commit)
            self._git("update-ref", ref, commit)
        for branch in self._heads().keys() - {ref.removeprefix("refs/heads/") for ref in shown}:
            self._git("update-ref", "-d", f"refs/heads/{branch}")

    def tip(self, branch: str) -> str | None:
        """Where a branch is."""
        return self._heads().get(branch)

    def contains(self, commit: str, ancestor: str) -> bool:
        """Whether a commit has another in its past, or is it."""
        return self._git("merge-base", commit, ancestor) == ancestor

    def content(self, blob: str) -> bytes:
        """What a file holds."""
        return self._raw("blob", blob)

    # --- up ----------------------------------------------------------------------------------

    def _branch_up(self, branch: str, commit: str) -> None:
        found = self.api("GET", f"git/ref/heads/{branch}", None)
        if found is None:
            self.api("POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": commit})
        elif found["object"]["sha"] != commit:
            self.api("PATCH", f"git/refs/heads/{branch}", {"sha": commit, "force": True})

    def _commit_up(self, commit: str) -> None:
        header, _, message = self._raw("commit", commit).decode().partition("\n\n")
        fields = [line.partition(" ")[::2] for line in header.splitlines()]
        tree = dict(fields)["tree"]
        self._tree_up(tree)
        body = {
            "message": message,
            "tree": tree,
            "parents": [value for name, value in fields if name == "parent"],
            "author": _person(dict(fields)["author"]),
            "committer": _person(dict(fields)["committer"]),
        }
        self._same(commit, self.api("POST", "git/commits", body)["sha"])

    def _tree_up(self, tree: str) -> None:
        entries = []
        for mode, kind, sha, path in self._listing(tree, "-r"):
            if kind == "blob" and sha not in self._there:
                self._blob_up(sha)
            entries.append({"path": path, "mode": mode, "type": kind, "sha": sha})
        self._same(tree, self.api("POST", "git/trees", {"tree": entries})["sha"])

    def _blob_up(self, sha: str) -> None:
        content = self._raw("blob", sha)
        # emulate takes bytes that are no text in base64 only.
        body = {"content": base64.b64encode(content).decode(), "encoding": "base64"}
        self._same(sha, self.api("POST", "git/blobs", body)["sha"])

    def _same(self, ours: str, theirs: str) -> None:
        assert ours == theirs, "emulate makes another object of it"
        self._there.add(ours)

    # --- down --------------------------------------------------------------------------------

    def _commit_down(self, commit: str) -> None:
        if self._has(commit):
            return
        found = self.api("GET", f"git/commits/{commit}", None)
        for parent in found["parents"]:
            self._commit_down(parent["sha"])
        self._tree_down(found["tree"]["sha"])
        lines = [f"tree {found['tree']['sha']}"]
        lines += [f"parent {parent['sha']}" for parent in found["parents"]]
        lines += [f"{who} {_signature(found[who])}" for who in ("author", "committer")]
        message = found["message"]
        text = "\n".join(lines) + "\n\n" + message + ("" if message.endswith("\n") else "\n")
        self._write(commit, "commit", text.encode())

    def _tree_down(self, tree: str) -> None:
        if self._has(tree):
            self._there.add(tree)
            return
        entries = self.api("GET", f"git/trees/{tree}", None)["tree"]
        for entry in entries:
            if entry["type"] == "tree":
                self._tree_down(entry["sha"])
            elif entry["type"] == "blob" and not self._has(entry["sha"]):
                self._blob_down(entry["sha"])
        lines = [f"{e['mode']} {e['type']} {e['sha']}\t{e['path']}\0" for e in entries]
        made = git("mktree", "-z", cwd=self.bare, stdin="".join(lines).encode())
        self._same(tree, made)

    def _blob_down(self, sha: str) -> None:
        found = self.api("GET", f"git/blobs/{sha}", None)
        self._write(sha, "blob", base64.b64decode(found["content"]))

    def _write(self, sha: str, kind: str, content: bytes) -> None:
        made = git("hash-object", "-t", kind, "-w", "--stdin", cwd=self.bare, stdin=content)
        self._same(sha, made)

    # --- git ---------------------------------------------------------------------------------

    def _git(self, *args: str) -> str:
        return git(*args, cwd=self.bare)

    def _has(self, sha: str) -> bool:
        done = subprocess.run(
            ["git", "cat-file", "-e", sha], cwd=self.bare, check=False, stderr=subprocess.DEVNULL
        )
        return done.returncode == 0

    def _raw(self, kind: str, sha: str) -> bytes:
        return subprocess.run(
            ["git", "cat-file", kind, sha], cwd=self.bare, check=True, stdout=subprocess.PIPE
        ).stdout

    def _heads(self) -> dict[str, str]:
        lines = self._git(
            "for-each-ref", "--format=%(refname:lstrip=2) %(objectname)", "refs/heads"
        )
        return {line.split()[0]: line.split()[1] for line in lines.splitlines()}

    def _listing(self, tree: str, *flags: str) -> Iterator[tuple[str, str, str, str]]:
        listing = subprocess.run(
            ["git", "ls-tree", "-z", *flags, tree],
            cwd=self.bare,
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        for entry in listing.split(b"\0")[:-1]:
            facts, _, path = entry.partition(b"\t")
            mode, kind, sha = facts.decode().split()
            # No API of GitHub's knows a name that is not UTF-8.
            yield mode, kind, sha, path.decode()


def _person(text: str) -> dict[str, str]:
    found = _PERSON.fullmatch(text)
    assert found is not None, text
    sign = -1 if found["zone"][0] == "-" else 1
    offset = sign * timedelta(hours=int(found["zone"][1:3]), minutes=int(found["zone"][3:]))
    date = datetime.fromtimestamp(int(found["seconds"]), timezone(offset))
    return {"name": found["name"], "email": found["email"], "date": date.isoformat()}


def _signature(person: dict[str, str]) -> str:
    date = datetime.fromisoformat(person["date"])
    return f"{person['name']} <{person['email']}> {int(date.timestamp())} {date:%z}"
