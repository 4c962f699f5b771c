"""A browser that stands still, as on a laptop that sleeps, and goes on."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from pages import Site


async def processes_of(site: Site) -> list[int]:
    """Return the ids of all processes of a site's browser."""
    session = await site.browser.new_browser_cdp_session()
    information = await session.send("SystemInfo.getProcessInfo")
    await session.detach()
    return [process["id"] for process in information["processInfo"]]


@contextmanager
def stopped(processes: list[int]) -> Iterator[None]:
    """Let these processes stand still inside."""
    for process in processes:
        os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process, signal.SIGCONT)
