"""What a run must not pass: another run, its processes' number, its disk, its end."""

import json
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import MakeRunner

import servers
from attacks import LAPTOP, SAME_USER, UNGUARDED, files, loot, run_script
from processes import processes_with
from servers import post_run, say, scenario, use

pytestmark = pytest.mark.e2e

AS_ROOT = os.geteuid() == 0
MCP_SERVER = (Path(__file__).parent.parent / "doubles" / "mcp_server.sh").read_text()
own_users = pytest.mark.skipif(not AS_ROOT, reason="without root no run has a user of its own")


@pytest.fixture
def narrow(weakened: MakeRunner) -> servers.Server:
    """A runner that gives a run little disk and few processes."""
    return weakened("small-disk", "few-processes")


@own_users
@pytest.mark.root
@pytest.mark.parametrize("defended", [True, False])
def test_a_tool_that_is_not_named_does_not_run(
    runner: servers.Server, weakened: MakeRunner, defended: bool
) -> None:
    """Not even where nothing is asked: one tool of a server is named, the other is not."""
    server = runner if defended else weakened(*UNGUARDED)
    turns = [use("mcp__double__shout", text="a"), use("mcp__double__whisper", text="b"), say("x")]
    double = {"command": "bash", "args": ["-c", MCP_SERVER], "env": {"MCP_GREETING": "hello"}}
    stream = post_run(
        server.url,
        {
            "prompt": scenario(*turns),
            "permissionMode": "bypassPermissions",
            "allowedTools": ["mcp__double__shout"],
            "mcpConfigJson": {"mcpServers": {"double": double}},
        },
    )
    ran = ["server heard" in json.dumps(result) for result in stream.tool_results()]
    assert ran == [True, not defended]
    if defended:
        assert "not among the allowed tools" in json.dumps(stream.tool_results()[1])


VICTIM = """umask 000; echo secret-of-the-victim > mine.txt; chmod 600 mine.txt
echo "$ANTHROPIC_API_KEY" > /tmp/victim-token; chmod 600 /tmp/victim-token
export SECRET_OF_THE_VICTIM=x$$
sleep 600 & echo "$PWD $!" > {meeting}/note; chmod 644 {meeting}/note
mv {meeting}/note {meeting}/victim
for i in $(seq 200); do [ -e {meeting}/done ] && break; sleep 0.05; done
kill -0 $! && kill $! && echo alive > alive.txt; cat mine.txt > after.txt; true"""

ATTACKER = """exec > loot.txt 2>&1
for i in $(seq 200); do [ -e {meeting}/victim ] && break; sleep 0.05; done
read -r place pid < {meeting}/victim
ls -la "$place"; cat "$place/mine.txt" "$place"/../claude-run-*/home/.claude/* /tmp/victim-token
echo overwritten > "$place/mine.txt"; echo new > "$place/new.txt"; rm -rf "$place"
mv "$place" /tmp/moved; ln -s /etc/passwd "$place/link"
cat /proc/$pid/environ /proc/$pid/cwd/mine.txt; ls -l /proc/$pid/fd /proc/$pid/cwd
perl -e 'open(F, "+<", "/proc/$ARGV[0]/mem") and print "memory open\\n"' $pid
renice 19 $pid; prlimit --pid $pid --nproc=1; kill -STOP $pid; kill -9 $pid
touch {meeting}/done; true"""


@pytest.fixture
def meeting(tmp_path: Path) -> Iterator[Path]:
    """A folder in which two runs can leave each other a note."""
    folder = Path("/tmp") / f"meeting-{tmp_path.parent.name}-{os.getpid()}"
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@own_users
@pytest.mark.root
@pytest.mark.parametrize("defended", [True, False])
def test_two_runs_do_not_touch_each_other(
    runner: servers.Server, weakened: MakeRunner, meeting: Path, defended: bool
) -> None:
    """Files, environment, memory, descriptors, signals: the attacker gets nothing done."""
    server = runner if defended else weakened(*SAME_USER)
    with ThreadPoolExecutor(2) as pool:
        victim = pool.submit(run_script, server, VICTIM.format(meeting=meeting))
        thief = pool.submit(run_script, server, ATTACKER.format(meeting=meeting))
        suffered, stolen = victim.result(), loot(thief.result())
    if defended:
        assert files(suffered)["after.txt"] == "secret-of-the-victim\n"
        assert files(suffered)["alive.txt"] == "alive\n"
        assert set(files(suffered)) == {"mine.txt", "after.txt", "alive.txt"}
        assert stolen.count("Permission denied") + stolen.count("not permitted") >= 10
    for found in ("secret-of-the-victim", "SECRET_OF_THE_VICTIM", "=run-", "memory open"):
        assert (found in stolen) is not defended


# Every process of it forks as long as it lives. It ends by itself, should nobody end it, and is
# never started without a limit on processes.
BOMB = """perl -e '$SIG{TERM} = "IGNORE"; my $end = time + 25; setpgrp;
  fork while time < $end' > /dev/null 2>&1 & """


def test_a_run_has_a_bounded_number_of_processes(
    runner: servers.Server, narrow: servers.Server
) -> None:
    """So many and no more; where the limit is larger the same script gets what it wants."""
    script = """perl -e 'for (1 .. 150) { my $p = fork // last; $n++ if $p; $p or sleep 60 }
 print $n' > loot.txt 2>&1"""
    assert int(loot(run_script(narrow, script))) < 60
    assert loot(run_script(runner, script)) == "150"


def test_a_fork_bomb_ends_with_its_run(narrow: servers.Server) -> None:
    """Whatever becomes of Claude Code under it: an end that is told, and nothing left."""
    ends_in_time(narrow)
    assert post_run(narrow.url, {"prompt": scenario(say("still here"))}).text == "still here"


def test_a_fork_bomb_ends_with_its_run_on_a_laptop(weakened: MakeRunner) -> None:
    """There the processes are not told apart by their user, but by whose children they are."""
    ends_in_time(weakened(*LAPTOP))


def ends_in_time(server: servers.Server) -> None:
    begin = time.monotonic()
    stream = run_script(server, BOMB + "sleep 1", timeoutMinutes=0.1)
    assert stream.events[-1].event == "done"
    assert time.monotonic() - begin < 20


# Nobody else's on this machine.
DAEMON_SECONDS = [f"6{number}0.{secrets.randbelow(10**9):09}" for number in range(3)]
DAEMON_NAME = f"kworker-{secrets.token_hex(4)}"
DAEMON = f"""perl -MPOSIX -e '
  for (1 .. 3) {{
    next if fork; setsid; exit if fork; setsid; exit if fork;
    $SIG{{$_}} = "IGNORE" for qw(TERM HUP INT QUIT PIPE CHLD);
    close STDIN; close STDOUT; close STDERR; chdir "/"; $0 = "{DAEMON_NAME}";
    POSIX::setpgid(0, 0); sleep 600 while 1 }}'
nohup sleep {DAEMON_SECONDS[0]} > /dev/null 2>&1 & disown
setsid -f sleep {DAEMON_SECONDS[1]}; (trap '' TERM; exec sleep {DAEMON_SECONDS[2]}) & true"""


LITTER = """touch /tmp/litter-1 /var/tmp/litter-1; mkfifo /tmp/litter-fifo
mkdir -p /dev/shm/litter-1/a/b; chmod 0 /dev/shm/litter-1; ln -s /etc/passwd /tmp/litter-link
ipcmk -M 1000000 -p 0666; ipcmk -Q -p 0666; ipcmk -S 3 -p 0666
echo '{"mcpServers": {}}' > /tmp/.mcp.json; mkdir /tmp/.claude; echo '# Evil' > /tmp/CLAUDE.md
chmod -R 000 .; true"""


REMOVERS = {
    "file": ("rm", "-rf"), "shm": ("ipcrm", "-m"), "msg": ("ipcrm", "-q"), "sem": ("ipcrm", "-s"),
}  # fmt: skip


@own_users
@pytest.mark.root
@pytest.mark.parametrize("defended", [True, False])
def test_the_next_run_finds_nothing_of_the_last(
    runner: servers.Server, weakened: MakeRunner, defended: bool
) -> None:
    """Processes forked twice, in sessions of their own, deaf to SIGTERM; files in shared folders,
    shared memory, queues, semaphores: gone before the stream ends."""
    server = runner if defended else weakened(*UNGUARDED)
    before = litter()
    stream = run_script(server, f"{DAEMON}\n{LITTER}")
    survivors, left = daemons(), litter() - before
    for pid in survivors:
        os.kill(pid, signal.SIGKILL)
    for kind, name in left:
        subprocess.run([*REMOVERS[kind], name], check=True)
    assert stream.error is None
    assert bool(survivors) is not defended
    assert {kind for kind, _ in left} == (set() if defended else {"file", "shm", "msg", "sem"})


def test_no_process_outlives_its_run_on_a_laptop(weakened: MakeRunner) -> None:
    """There they are known by whose children they are."""
    assert run_script(weakened(*LAPTOP), DAEMON).error is None
    assert daemons() == []


def litter() -> set[tuple[str, str]]:
    """What a run may have left: kind, and path or number."""
    found = {
        ("file", str(path))
        for folder in (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))
        for path in folder.iterdir()
        if path.name.startswith(("litter", ".mcp.json", ".claude", "CLAUDE.md"))
    }
    for kind in ("shm", "msg", "sem"):
        for line in Path(f"/proc/sysvipc/{kind}").read_text().splitlines()[1:]:
            found.add((kind, line.split()[1]))
    return found


@own_users
@pytest.mark.root
def test_no_process_outlives_its_run_when_its_launcher_hangs(weakened: MakeRunner) -> None:
    """The runner does not wait for it for ever, and ends what is left itself."""
    begin = time.monotonic()
    run_script(weakened("stuck-launcher"), DAEMON)
    assert daemons() == []
    assert time.monotonic() - begin < 30


def daemons() -> list[int]:
    names = (DAEMON_NAME, *(f"sleep {seconds}" for seconds in DAEMON_SECONDS))
    return [
        pid
        for name in names
        for pid, command in processes_with(name).items()
        if command.startswith(name)
    ]


FILLERS = {
    "many-files": "for i in $(seq 30); do head -c 4000000 /dev/zero > $i; done",
    "many-empty-files": """perl -e 'mkdir "d"; for (1 .. 12_000) { open F, ">", "d/$_" }'""",
    "deleted-but-open": "exec 7> gone; rm gone; head -c 100000000 /dev/zero >&7",
    "outside": "head -c 100000000 /dev/zero > /tmp/filler-$$",
    "shared-memory": "head -c 100000000 /dev/zero > /dev/shm/filler-$$",
    "below-a-deep-tree": """perl -e 'for (1 .. 3000) { mkdir "d"; chdir "d" } open F, ">", "big";
 print F "0" x 1e6 for 1 .. 100; close F'""",
}


@pytest.mark.parametrize("way", FILLERS)
def test_a_run_does_not_fill_the_disk(narrow: servers.Server, way: str) -> None:
    """However it hides what it writes: it is ended, says why, and gives the space back."""
    if not AS_ROOT and way in ("deleted-but-open", "outside", "shared-memory"):
        return  # what a shared user holds outside its folders cannot be told apart
    stream = run_script(narrow, f"{FILLERS[way]}; sleep 60")
    assert stream.error is not None
    assert stream.error["code"] == "AGENT_FAILED"
    assert "more disk than it may" in stream.error["error"]


def test_the_instance_is_fit_for_the_next_run(narrow: servers.Server) -> None:
    """After all that; and a sparse file is no full disk, nor is it read into a change set."""
    stream = run_script(narrow, "truncate -s 1500M sparse; sleep 2.5")
    assert stream.error is None
    assert [warning["code"] for warning in stream.data("warning")] == ["FILE_TOO_LARGE"]


def test_without_the_watch_a_run_takes_what_it_wants(weakened: MakeRunner) -> None:
    """The same files, and the run succeeds."""
    stream = run_script(weakened(*UNGUARDED), FILLERS["many-files"] + "; sleep 2.5")
    assert stream.error is None
