"""Whether a caller is an agent of ours: it shares the loopback with whoever may call."""

import ipaddress
import socket
from pathlib import Path

# The users that runs have of their own, where the runner can give them one: above every system's
# own accounts and below the ranges that containers map (65,536 and up).
AGENT_UIDS = range(20_000, 21_000)


def is_agent(client: tuple[str, int] | None, port: int) -> bool:
    """Whether the process at the other end of a connection to our `port` has a run's user.

    The kernel names a connection's owner in /proc/net: what is not found there is not local.
    """
    if client is None:
        return False
    address = ipaddress.ip_address(client[0])
    table = Path("/proc/net/tcp" if address.version == 4 else "/proc/net/tcp6")
    uid = owner(table.read_text(), local=_endpoint(*client), remote_port=port)
    return uid is not None and uid in AGENT_UIDS


def owner(table: str, *, local: str, remote_port: int) -> int | None:
    """The user of a connection in a table of proc(5); None where it is not in it."""
    for line in table.splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[2].endswith(f":{remote_port:04X}"):
            return int(fields[7])
    return None


def _endpoint(host: str, port: int) -> str:
    """An address as the kernel prints it: each four bytes as one number of this machine's."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    packed = socket.inet_pton(family, host)
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, 'little'):08X}" for word in words) + f":{port:04X}"
