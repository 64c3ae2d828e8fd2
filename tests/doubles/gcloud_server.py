"""Runs in gcloud's own Python: loads gcloud, then forks for each command. See `gcloud.py`.

A command tells what it was and what else it had to load, and the next ones find that loaded: for a
small command its parsers are three quarters of the work.
"""

import array
import contextlib
import gc
import importlib
import itertools
import os
import select
import signal
import socket
import sys
from typing import Any

STREAMS = 3
# Modules that may be loaded before a fork: they start no thread.
GCLOUDS_OWN = ("googlecloudsdk.", "proto")
# What a pipe takes in one piece, whoever else writes into it: POSIX's PIPE_BUF, at least.
PIECE = 4096


class Server:
    """One process with gcloud in memory, and a child for each command that is under way."""

    def __init__(self, root: str, address: str, arguments: str) -> None:
        self.arguments = os.open(arguments, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.library = f"{root}/lib"
        sys.path[:0] = [f"{self.library}/third_party", self.library]
        os.environ["CLOUDSDK_ROOT_DIR"] = root
        from googlecloudsdk import gcloud_main  # type: ignore[import-not-found] # gcloud's own

        self.gcloud = gcloud_main
        self.cli = gcloud_main.CreateCLI([])
        # Children are short: what they would collect is gone with them, and they share the rest.
        gc.disable()
        self.learned, self.telling = os.pipe()
        self.rest = b""
        self.commands: dict[int, socket.socket] = {}
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.woken, waking = os.pipe()
        os.set_blocking(waking, False)
        signal.set_wakeup_fd(waking)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def serve(self) -> None:
        """For ever."""
        os.write(1, b"ready\n")
        while True:
            waiting: list[Any] = [self.listener, self.learned, self.woken]
            waiting += self.commands.values()
            ready, _, _ = select.select(waiting, [], [])
            if self.woken in ready:
                os.read(self.woken, PIECE)
            self._tell()
            for pid, connection in self.commands.items():
                # Whoever asked and is killed takes the command along, as a terminal does.
                if connection in ready:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
            if self.learned in ready:
                self._load()
            if self.listener in ready:
                self._begin(self.listener.accept()[0])

    def _tell(self) -> None:
        """How those ended that have ended."""
        while self.commands:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            code = os.waitstatus_to_exitcode(status)
            with self.commands.pop(pid) as connection, contextlib.suppress(OSError):
                connection.sendall(bytes([code if code >= 0 else 128 - code]))

    def _load(self) -> None:
        """Import what a command had to; what cannot be is the business of who needs it."""
        *lines, self.rest = (self.rest + os.read(self.learned, 1 << 16)).split(b"\n")
        for line in lines:
            command, _, module = line.decode().partition("\0")
            with contextlib.suppress(Exception):
                if module:
                    importlib.import_module(module)
                else:
                    self._parsers_of(command.split())

    def _parsers_of(self, words: list[str]) -> None:
        element = self.cli.top_element
        for word in words:
            element = element.LoadSubElement(word)
            if element is None:
                return

    def _begin(self, connection: socket.socket) -> None:
        streams = array.array("i")
        head, ancillary, _, _ = connection.recvmsg(4, socket.CMSG_SPACE(STREAMS * streams.itemsize))
        if not head:
            connection.close()
            return
        streams.frombytes(ancillary[0][2])
        left, message = int.from_bytes(head, "big"), b""
        while left > len(message):
            message += connection.recv(left - len(message))
        _, count, *parts = message.decode().split("\0")
        os.write(self.arguments, "".join(f"{part}\n" for part in parts[: int(count)]).encode())
        pid = os.fork()
        if pid == 0:
            self._become(streams, message.decode())
        self.commands[pid] = connection
        for stream in streams:
            os.close(stream)

    def _become(self, streams: "array.array[int]", message: str) -> None:
        """Be the command, to its end."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        folder, count, *parts = message.split("\0")
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(dict(part.split("=", 1) for part in parts[int(count) :]))
        sys.argv = [f"{self.library}/gcloud.py", *parts[: int(count)]]
        known, status = set(sys.modules), 1
        try:
            self.gcloud.main(self.cli)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            self._teach(sorted(set(sys.modules) - known))
            os._exit(status)

    def _teach(self, modules: "list[str]") -> None:
        words = itertools.takewhile(lambda word: not word.startswith("-"), sys.argv[1:])
        lines = [" ".join(words)]
        lines += [f"\0{one}" for one in modules if one.startswith(GCLOUDS_OWN)]
        piece = b""
        for name in [line.encode() + b"\n" for line in lines]:
            if len(piece) + len(name) > PIECE:
                os.write(self.telling, piece)
                piece = b""
            piece += name
        if piece:
            os.write(self.telling, piece)


if __name__ == "__main__":
    Server(*sys.argv[1:]).serve()
