"""Fixtures of tests in browsers: what a file's tests share, where they may."""

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from bridge_process import BridgeServer
from pages import Browsers, browsers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BridgeServer]:
    """A running server over plain HTTP on loopback."""
    running = BridgeServer(tmp_path_factory.mktemp("bridge"))
    await asyncio.to_thread(running.start)
    yield running
    await asyncio.to_thread(running.stop)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Browsers]:
    """What starts browsers, and closes them."""
    async with browsers(tmp_path_factory.mktemp("sites")) as running:
        yield running
