"""Whose process is at the other end of a connection on this machine."""

import os
import socket
from pathlib import Path

import pytest

from claude_run import peers
from claude_run.peers import is_agent, owner

HEAD = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid\n"
LINE = "   0: {} {} 01 00000000:00000000 00:00000000 00000000 {}        0 4711 1 0 20 4 30 10 -1\n"


def test_a_connection_is_found_by_both_its_ends() -> None:
    """Ours is the caller's other end; the listener and the other direction are not it."""
    table = HEAD + "".join(
        LINE.format(*row)
        for row in (
            ("0100007F:1F90", "00000000:0000", 0),
            ("0100007F:1F90", "0100007F:C350", 0),
            ("0100007F:C350", "0100007F:0050", 7),
            ("0200007F:C350", "0100007F:1F90", 8),
            ("0100007F:C350", "0100007F:1F90", 20_001),
        )
    )
    assert owner(table, local="0100007F:C350", remote_port=8080) == 20_001
    assert owner(table, local="0100007F:C351", remote_port=8080) is None
    assert owner(HEAD, local="0100007F:C350", remote_port=8080) is None


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"),
                                              (socket.AF_INET6, "::1")])  # fmt: skip
def test_the_kernel_names_the_owner(
    monkeypatch: pytest.MonkeyPatch, family: socket.AddressFamily, host: str
) -> None:
    """A real connection of ours: not an agent's, unless agents had our user."""
    with socket.socket(family) as listener, socket.socket(family) as client:
        listener.bind((host, 0))
        listener.listen()
        client.connect(listener.getsockname())
        caller, port = client.getsockname()[:2], listener.getsockname()[1]
        assert not is_agent(caller, port)
        monkeypatch.setattr(peers, "AGENT_UIDS", {os.getuid()})
        assert is_agent(caller, port)
        assert not is_agent(caller, port + 1)


def test_nobody_is_no_agent() -> None:
    """A server may not know its client; then it did not come over TCP."""
    assert not is_agent(None, 8080)
    assert Path("/proc/net/tcp").exists()
