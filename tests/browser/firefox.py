"""Sites as a test sees them in Debian's Firefox, in a network of its own: it has no loopback candidates."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from networks import Network
from pages import PATIENCE_S, PROBE, VIEWPORT, Visitor

FIREFOX = "/usr/bin/firefox-esr"
WEB = Path(__file__).parents[2] / "web"
DRIVER = Path(__file__).parent / "firefox.mjs"
# What a test needs of a browser without people in front of it, and no word to anybody outside.
PREFERENCES: dict[str, bool | int | str] = {
    "media.navigator.streams.fake": True,
    "media.navigator.permission.disabled": True,
    "media.autoplay.default": 0,
    "media.peerconnection.ice.obfuscate_host_addresses": False,
    "media.gmp-manager.updateEnabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "ui.prefersReducedMotion": 1,
}
# Firefox's fake camera gives whatever size is asked for; this machine's encoder is to have time for it, as
# for the cameras of the other sites.
SMALL_CAMERA = """
(() => {
  const original = MediaDevices.prototype.getUserMedia;
  MediaDevices.prototype.getUserMedia = function ({ video, ...rest }) {
    return original.call(this, {
      ...rest,
      video: video && { ...video, width: { ideal: 640 }, height: { ideal: 360 }, frameRate: { ideal: 12 } },
    });
  };
})();
"""


@dataclass
class FirefoxSite(Visitor):
    """One bridge point's Firefox, driven through a process that speaks its protocol."""

    name: str
    process: asyncio.subprocess.Process
    errors: list[str] = field(default_factory=list)
    version: str = ""
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    _answers: "dict[int, asyncio.Future[Any]]" = field(default_factory=dict)
    _reading: "asyncio.Task[None] | None" = None

    async def start(self) -> None:
        """Wait until the browser takes orders."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        self.version = json.loads(line)["ready"]
        self._reading = asyncio.create_task(self._read())

    async def goto(self, link: str) -> None:
        await self._order("goto", url=link)

    async def reload(self) -> None:
        await self._order("reload")

    async def evaluate(self, expression: str, argument: Any = None) -> Any:
        # As with Playwright, a text that is a function is called.
        is_function = expression.lstrip().startswith(("async", "(")) and "=>" in expression
        if argument is not None or is_function:
            expression = f"({expression})({json.dumps(argument)})"
        return await self._order("evaluate", expression=expression)

    async def click(self, selector: str) -> None:
        await self._order("click", selector=selector)

    async def fill(self, selector: str, text: str) -> None:
        await self._order("fill", selector=selector, text=text)

    async def close(self) -> None:
        """End the browser, then its driver."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            await asyncio.wait_for(self.process.wait(), 10)
        except TimeoutError:
            self.process.kill()
            await self.process.wait()
        if self._reading is not None:
            await self._reading

    async def _order(self, order: str, **given: Any) -> Any:
        assert self.process.stdin is not None
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self.process.stdin.write(f"{json.dumps({'id': number, 'order': order, 'given': given})}\n".encode())
        return await asyncio.wait_for(answer, PATIENCE_S)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if "error" in said:
                self.errors.append(said["error"])
                continue
            answer = self._answers.pop(said["id"])
            if answer.done():
                continue
            if "failed" in said:
                answer.set_exception(AssertionError(f"{self.name}: {said['failed']}"))
            else:
                answer.set_result(said["result"])
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(AssertionError(f"{self.name}: Firefox has ended"))


@asynccontextmanager
async def firefox(name: str, network: Network, origin: str) -> AsyncIterator[FirefoxSite]:
    """Start one site's Firefox in a network, with an empty page; `origin` counts as a secure one."""
    setting = {
        "executable": FIREFOX,
        "preferences": PREFERENCES
        | {
            "dom.securecontext.allowlist": origin.partition("//")[2].partition(":")[0],
            "media.devices.insecure.enabled": True,
            "media.getusermedia.insecure.enabled": True,
            # A page over HTTP that counts as secure would have its recordings fetched over HTTPS.
            "security.mixed_content.upgrade_display_content": False,
        },
        "web": str(WEB),
        "viewport": VIEWPORT,
        "scripts": [PROBE.read_text(encoding="utf-8"), SMALL_CAMERA],
    }
    process = await asyncio.create_subprocess_exec(
        *network.enter,
        "node",
        str(DRIVER),
        json.dumps(setting),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 24,
    )
    site = FirefoxSite(name, process)
    try:
        await site.start()
        yield site
    finally:
        await site.close()
