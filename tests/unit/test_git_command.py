"""git as it is started: what it sees, what bounds it, what is left of it."""

import asyncio
from pathlib import Path

import pytest

from processes import assert_gone, long_sleep, wait_for_start
from runner.git.command import (
    GitFailedError,
    GitOutputError,
    GitTimeoutError,
    Network,
    environment,
    run_git,
)

NETWORK = Network(
    origin="https://github.com", credential=b"password=s3cret\n", max_file_bytes=1 << 20
)


def alias(shell: str) -> dict[str, str]:
    """A git command that runs any shell, as an agent's configuration could."""
    return {"alias.probe": f"!{shell}"}


def test_the_environment_is_made_from_nothing() -> None:
    """Of ours only PATH, and the way through a proxy for the network."""
    ours = {"PATH": "/bin", "HTTPS_PROXY": "http://p", "GIT_DIR": "/x", "SECRET": "y", "HOME": "/h",
            "GIT_CONFIG_PARAMETERS": "'a.b=c'", "GIT_SSH_COMMAND": "evil", "GIT_EXEC_PATH": "/e",
            "LD_PRELOAD": "z"}  # fmt: skip
    local = environment(ours, config={}, network=None)
    assert local["PATH"] == "/bin"
    assert local["HOME"] == "/dev/null"
    assert local["GIT_SSH_COMMAND"] == "false"
    assert not {"HTTPS_PROXY", "GIT_DIR", "SECRET", "LD_PRELOAD", "GIT_EXEC_PATH",
                "GIT_CONFIG_PARAMETERS"} & set(local)  # fmt: skip
    assert environment(ours, config={}, network=NETWORK)["HTTPS_PROXY"] == "http://p"


def test_the_credential_is_in_neither_arguments_nor_environment() -> None:
    """The environment names a descriptor and the one host that is answered."""
    env = environment({}, config={}, network=NETWORK)
    assert "s3cret" not in repr(env)
    assert "credential.https://github.com.helper" in env.values()


def test_git_says_what_it_was_asked() -> None:
    """Output and input are bytes, whole."""
    result = asyncio.run(run_git(["hash-object", "--stdin"], stdin=b"x" * 300_000))
    assert len(result.stdout) == 41


def test_a_failure_carries_status_and_words() -> None:
    """The text is for classifying."""
    with pytest.raises(GitFailedError) as caught:
        asyncio.run(run_git(["rev-parse", "--verify", "HEAD"]))
    assert caught.value.result.status == 128
    assert "not a git repository" in caught.value.result.stderr


def test_too_slow_is_killed_with_its_children() -> None:
    """The whole group dies, also what git started."""
    mark = long_sleep()
    with pytest.raises(GitTimeoutError):
        asyncio.run(
            run_git(["probe"], config=alias(f"sleep {mark} & sleep {mark}"), time_limit=0.5)
        )
    assert_gone(mark)


def test_a_child_that_outlives_git_is_killed_too() -> None:
    """git has ended, but something of its group still holds the pipes."""
    mark = long_sleep()
    with pytest.raises(GitTimeoutError):
        asyncio.run(run_git(["probe"], config=alias(f"sleep {mark} & exit 0"), time_limit=0.5))
    assert_gone(mark)


@pytest.mark.parametrize("steps", [2, 4, 6, 40])
def test_cancellation_leaves_no_process(steps: int) -> None:
    """A caller that goes away takes git along and all that git started, at whatever step."""
    mark = long_sleep()

    async def cancelled() -> None:
        task = asyncio.create_task(run_git(["probe"], config=alias(f"sleep {mark}")))
        for _ in range(steps):
            await asyncio.sleep(0)
        wait_for_start(f"sleep {mark}")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancelled())
    assert_gone(mark)


def test_endless_output_is_cut_off() -> None:
    """Memory is bounded by what was asked for."""
    with pytest.raises(GitOutputError):
        asyncio.run(run_git(["probe"], config=alias("yes"), max_output=1000))


def test_endless_stderr_keeps_its_end() -> None:
    """Progress and complaints have a bound as well, and lines end at carriage returns."""
    lines: list[str] = []
    shell = (
        "printf '1%%\\r2%%\\r' >&2; head -c 5000000 /dev/zero | tr '\\0' x >&2; printf '\\nend' >&2"
    )
    result = asyncio.run(run_git(["probe"], config=alias(shell), on_line=lines.append))
    assert result.stderr.endswith("x\nend")
    assert len(result.stderr) == 16 << 10
    assert lines[:2] == ["1%", "2%"]
    assert max(map(len, lines)) <= 4096


def test_other_transports_are_closed(tmp_path: Path) -> None:
    """ext:: runs any command; it works where git is asked plainly to allow it."""
    mark = tmp_path / "ran"
    url = f"ext::sh -c touch% {mark}"
    for network in (None, NETWORK):
        with pytest.raises(GitFailedError, match="128"):
            asyncio.run(run_git(["ls-remote", url], network=network))
    assert not mark.exists()
    opened = {"protocol.ext.allow": "always"}
    with pytest.raises(GitFailedError):
        asyncio.run(run_git(["ls-remote", url], config=opened))
    assert mark.exists()


def test_a_file_that_grows_too_large_ends_git(tmp_path: Path) -> None:
    """The bound of a pack, enforced by the kernel."""
    network = Network(origin="https://h", credential=None, max_file_bytes=1 << 20)
    shell = f"head -c 3000000 /dev/zero > {tmp_path}/big"
    with pytest.raises(GitFailedError):
        asyncio.run(run_git(["probe"], config=alias(shell), network=network))
    assert (tmp_path / "big").stat().st_size <= 1 << 20
