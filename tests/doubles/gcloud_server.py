"""Runs in gcloud's own Python: loads gcloud, then forks for each command. See `gcloud.py`."""

import array
import os
import select
import signal
import socket
import sys

STREAMS = 3
# How late the end of a command may be noticed.
WAIT_SECONDS = 0.005


def main(root: str, address: str) -> None:
    """Serve for ever."""
    library = f"{root}/lib"
    sys.path[:0] = [f"{library}/third_party", library]
    os.environ["CLOUDSDK_ROOT_DIR"] = root
    from googlecloudsdk import gcloud_main
    from googlecloudsdk.api_lib.util import apis

    cli = gcloud_main.CreateCLI([])
    for api, version in (("run", "v1"), ("run", "v2"), ("cloudbuild", "v1")):
        apis.GetMessagesModule(api, version)
    # Otherwise each command would be somebody's child that nobody asks for.
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(64)
        os.write(1, b"ready\n")
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                os._exit(_serve(connection, cli, gcloud_main, library))
            connection.close()


def _serve(connection, cli, gcloud_main, library):  # noqa: ANN001, ANN202 - gcloud's Python
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
        status = 1
        try:
            gcloud_main.main(cli)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    for stream in streams:
        os.close(stream)
    return _tell(connection, child)


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
    try:
        connection.sendall(bytes([code if code >= 0 else 128 - code]))
    except OSError:
        pass
    return 0


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
