"""Runs in gcloud's own Python: loads gcloud, then forks for each command. See `gcloud.py`.

A command tells what else it had to load, and the next ones find that loaded.
"""

import array
import contextlib
import importlib
import os
import select
import signal
import socket
import sys

STREAMS = 3
# How late the end of a command may be noticed.
WAIT_SECONDS = 0.005
# What a pipe takes in one piece, whoever else writes into it: POSIX's PIPE_BUF, at least.
PIECE = 4096


def main(root: str, address: str) -> None:
    """Serve for ever."""
    library = f"{root}/lib"
    sys.path[:0] = [f"{library}/third_party", library]
    os.environ["CLOUDSDK_ROOT_DIR"] = root
    from googlecloudsdk import gcloud_main

    cli = gcloud_main.CreateCLI([])
    learned, telling = os.pipe()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(64)
        os.write(1, b"ready\n")
        # Otherwise each command would stay behind until somebody asks how it ended.
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        rest = b""
        while True:
            ready, _, _ = select.select([server, learned], [], [])
            if learned in ready:
                *lines, rest = (rest + os.read(learned, 1 << 16)).split(b"\n")
                load(lines)
                continue
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                os._exit(_serve(connection, cli, gcloud_main, library, telling))
            connection.close()


def load(lines):  # noqa: ANN001, ANN201 - gcloud's Python
    """Import modules by name; one that cannot be is the business of who needs it."""
    for name in lines:
        with contextlib.suppress(Exception):
            importlib.import_module(name.decode())


def _serve(connection, cli, gcloud_main, library, telling):  # noqa: ANN001, ANN202
    """Run one command in a child, and tell how it ended; whoever goes away ends it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    streams = array.array("i")
    head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(STREAMS * streams.itemsize))
    streams.frombytes(ancillary[0][2])
    left, message = int.from_bytes(head, "big"), b""
    while left > len(message):
        message += connection.recv(left - len(message))
    folder, count, *parts = message.decode().split("\0")
    child = os.fork()
    if child == 0:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(part.split("=", 1) for part in parts[int(count) :])
        sys.argv = [f"{library}/gcloud.py", *parts[: int(count)]]
        known, status = set(sys.modules), 1
        try:
            gcloud_main.main(cli)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            _teach(telling, sorted(set(sys.modules) - known))
            os._exit(status)
    for stream in streams:
        os.close(stream)
    return _tell(connection, child)


def _teach(telling, names):  # noqa: ANN001, ANN202 - gcloud's Python
    piece = b""
    for name in [one.encode() + b"\n" for one in names if one.startswith("googlecloudsdk.")]:
        if len(piece) + len(name) > PIECE:
            os.write(telling, piece)
            piece = b""
        piece += name
    if piece:
        os.write(telling, piece)


def _tell(connection, child):  # noqa: ANN001, ANN202 - gcloud's Python
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            break
        # Whoever asked and is killed takes the command along, as a terminal does.
        ready, _, _ = select.select([connection], [], [], WAIT_SECONDS)
        if ready:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(OSError):
        connection.sendall(bytes([code if code >= 0 else 128 - code]))
    return 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
