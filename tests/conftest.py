"""Fixtures shared by all tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from bridge_process import BridgeServer, StartBridge


@pytest.fixture
def start_bridge(tmp_path: Path) -> Iterator[StartBridge]:
    """Start servers with arguments and environment of the test's choice; all end with the test."""
    servers: list[BridgeServer] = []

    def start(*arguments: str, **environment: str) -> BridgeServer:
        server = BridgeServer(tmp_path / f"bridge-{len(servers)}", arguments, environment)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        if server.process is not None:
            server.stop()


@pytest.fixture
def bridge_server(start_bridge: StartBridge) -> BridgeServer:
    """One running server over plain HTTP on loopback."""
    return start_bridge()
