"""`python -m benchmarks.networks.chromium`: the scorecard with real pages behind shaped lines.

One case is one conference: a bridge, a publisher who talks all the time, receivers behind one line (or the
publisher behind it), and a receiver on loopback as a control: what that one sees as well is the machine's
doing. Prints a JSON line for each run. Needs root, Chromium, and `PYTHONPATH=tests:tests/browser` for what
opens pages.
"""

import argparse
import asyncio
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from bridge_process import BridgeServer, free_port
from networks import CHROMIUM
from pages import Browsers, Camera, Site, browsers, cores_waited_ms
from pictures import BLUE, GREY
from playwright.async_api import Error as PlaywrightError

from benchmarks.networks import bulk
from benchmarks.networks.cases import Shape, is_chosen, short_transfers
from benchmarks.networks.clock import Clock
from benchmarks.networks.live import LIVE, LiveCase
from benchmarks.networks.plot import plot
from benchmarks.networks.score import plain, score_flows
from benchmarks.networks.seen import Moment, Seen, moments, seen
from benchmarks.networks.shaper import Count, Measured, Setup
from benchmarks.networks.tally import Tally
from benchmarks.networks.tunnel import Tunnel, lacking, tunnel

HERE = Path(__file__).parent
SAMPLER = HERE / "sampler.js"
WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 1280, 720, 10
CAMERA = Camera(BLUE, WIDTH_PX, HEIGHT_PX, FRAMES_PER_S)
SMALL = Camera(GREY, 320, 180, 5)
# With the first values of its line a flow has this long before its case begins.
LEAD_S = 8.0
# Directories of runs, followed by the number of the process.
PREFIX = "hoichan-networks-"
BEFORE_S = 1000.0
PICTURE_LOOP = 20
# IP and UDP.
HEADERS_BYTES = 28


def write_lively(path: Path) -> None:
    """Write a picture that moves and has grain, so that its encodings have all of their bit rate."""
    random_ = np.random.default_rng(9)
    coarse = random_.integers(40, 216, (HEIGHT_PX // 16 + 8, WIDTH_PX // 16 + 8), dtype=np.uint8)
    scene = np.kron(coarse, np.ones((16, 16), np.uint8)).astype(np.int16)
    chroma = np.full(HEIGHT_PX * WIDTH_PX // 2, 128, np.uint8).tobytes()
    with path.open("wb") as file:
        file.write(f"YUV4MPEG2 W{WIDTH_PX} H{HEIGHT_PX} F{FRAMES_PER_S}:1 Ip A1:1 C420mpeg2\n".encode())
        for number in range(PICTURE_LOOP):
            turn = 2 * np.pi * number / PICTURE_LOOP
            top, left = round(48 + 40 * np.sin(turn)), round(48 + 40 * np.cos(turn))
            picture = scene[top : top + HEIGHT_PX, left : left + WIDTH_PX]
            grain = random_.integers(-6, 7, picture.shape, dtype=np.int16)
            file.write(b"FRAME\n" + (picture + grain).clip(16, 235).astype(np.uint8).tobytes() + chroma)


@dataclass
class Conference:
    """A bridge, its line, and its pages."""

    live: LiveCase
    line: Tunnel
    server: BridgeServer
    browsers: Browsers
    picture: Path
    directory: Path
    # What pages have measured, by their sites.
    gathered: dict[str, dict[str, list[Any]]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Return where every page is opened: from this machine the line's address is not on the line."""
        return f"http://{self.line.host}:{self.server.http_port}"

    async def site(self, name: str, camera: Camera, *, behind: int | None = None) -> Site:
        """Start a browser, here or in a namespace."""
        chromium = CHROMIUM
        if behind is not None:
            file = self.directory / f"chromium-{behind}"
            file.write_text(f'#!/bin/sh\nexec {" ".join(self.line.enter(behind))} {CHROMIUM} "$@"\n')
            file.chmod(0o755)
            chromium = str(file)
        return await self.browsers.site(
            name,
            camera,
            flags=[f"--unsafely-treat-insecure-origin-as-secure={self.url}"],
            chromium=chromium,
            picture=self.picture if camera is CAMERA else None,
            script=SAMPLER,
        )

    async def open(self, site: Site, role: str) -> None:
        """Open the page, up to the question for a name."""
        await site.open(f"{self.url}/room/#i={self.server.invite(role, site.name)}")

    async def listen(self, site: Site) -> None:
        """Join without camera and microphone."""
        await site.click("#prejoin-listen")
        await self.until_seen(site)

    async def gather(self, site: Site) -> None:
        """Keep what a page has measured so far."""
        kept = self.gathered.setdefault(site.name, {"samples": [], "shown": []})
        for name, values in (await site.evaluate("sampler.drain()")).items():
            kept[name] += values

    async def until_seen(self, site: Site) -> None:
        """Wait for media, a picture on stage, and a voice."""
        await site.until("window.hoichan?.peer?.isConnected === true", "connected media", within_s=90.0)
        await site.until("sampler.stageFrames() > 5", "a picture on stage", within_s=60.0)


def end_left_behind() -> None:
    """End the bridges and pages of runs that were killed, and delete what they wrote."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            marked = "\0".join([*process.cmdline(), *process.environ().values()])
            found = re.search(rf"{PREFIX}(\d+)-", marked)
            if found and not psutil.pid_exists(int(found[1])):
                process.kill()
    for left in Path(tempfile.gettempdir()).glob(f"{PREFIX}*-*"):
        if not psutil.pid_exists(int(left.name.removeprefix(PREFIX).partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)


@asynccontextmanager
async def conference(live: LiveCase, tcp_port: int) -> AsyncIterator[Conference]:
    """Everything that a case needs, and its end."""
    case = live.case
    extra = [shape.extra_delay_s for shape in case.flows] if live.way == "down" else [0.0]
    async with AsyncExitStack() as stack:
        end_left_behind()
        prefix = f"{PREFIX}{os.getpid()}-"
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix)))
        http_port = free_port()
        setup = Setup(case, live.way, tcp_port=tcp_port, page_port=http_port)
        line = stack.enter_context(tunnel(setup, extra))
        server = BridgeServer(
            directory / "bridge",
            environment={
                "HOICHAN_HTTP_HOST": "0.0.0.0",
                "HOICHAN_MEDIA_ANNOUNCED_ADDRESSES": line.host,
            },
            http_port=http_port,
        )
        server.start()
        stack.callback(server.stop)
        picture = directory / "lively.y4m"
        write_lively(picture)
        running = await stack.enter_async_context(browsers(directory))
        yield Conference(live, line, server, running, picture, directory)


@dataclass
class Result:
    """One run of one case."""

    row: dict[str, Any]
    forward: list[Count]
    tcps: list[Tally]
    receivers: list[list[Moment]]
    control: list[Moment]


async def run(live: LiveCase) -> Result:
    """Run a case once."""
    with socket.create_server(("0.0.0.0", 0)) as listening:
        threading.Thread(target=bulk.serve, args=(listening,), daemon=True).start()
        try:
            async with conference(live, listening.getsockname()[1]) as held:
                return await _run(held, listening.getsockname()[1])
        finally:
            listening.shutdown(socket.SHUT_RDWR)


async def _run(held: Conference, tcp_port: int) -> Result:
    live, case, line = held.live, held.live.case, held.line
    is_down = live.way == "down"
    shapes: Sequence[Shape] = case.flows if is_down else (Shape(),)
    publisher = await held.site("Trạm Y tế Lũng Cú", CAMERA, behind=None if is_down else 0)
    control = await held.site("Đối chứng", SMALL)
    receivers = [
        await held.site(
            f"Điểm cầu {number}", CAMERA if case.back else SMALL, behind=number if is_down else None
        )
        for number in range(len(shapes))
    ]
    await held.open(publisher, "presenter")
    await publisher.join()
    await held.open(control, "presenter")
    await held.listen(control)
    for site in receivers:
        await held.open(site, "presenter")
    line.begin(-BEFORE_S)
    for site, shape in zip(receivers, shapes, strict=True):
        if shape.start_s <= 0.0:
            await _join(held, site)
    line.begin(-LEAD_S)
    began = time.monotonic() + LEAD_S
    zero = time.time() + LEAD_S
    load, waited_ms = os.getloadavg(), cores_waited_ms()
    beside = _start_beside(held, tcp_port, began)
    try:
        tasks = [_live(held, site, shape, began) for site, shape in zip(receivers, shapes, strict=True)]
        spans = await asyncio.gather(*tasks)
        await _until(began + case.duration_s)
    finally:
        for process in beside:
            process.kill()
            process.wait()
    measured = line.finish()
    waited_ms = cores_waited_ms() - waited_ms
    read = [await _read(held, site, zero) for site in (control, *receivers)]
    return _result(held, measured, read, spans, load, waited_ms)


async def _join(held: Conference, site: Site) -> None:
    if held.live.case.back:
        # Its camera is the flow of the other direction; its voice would take the stage.
        await site.join(with_voice=False)
        await held.until_seen(site)
    else:
        await held.listen(site)


async def _until(when: float) -> None:
    await asyncio.sleep(max(when - time.monotonic(), 0.0))


async def _live(held: Conference, site: Site, shape: Shape, began: float) -> list[tuple[float, float]]:
    """Let a page do what its flow's shape says; return when it was there, with picture and voice."""
    since_s = 0.0
    spans: list[tuple[float, float]] = []
    if shape.start_s > 0.0:
        await _until(began + shape.start_s)
        await _join(held, site)
        since_s = time.monotonic() - began
    for start_s, end_s in shape.pauses:
        await _until(began + start_s)
        spans.append((since_s, start_s))
        await held.gather(site)
        await site.leave()
        await held.open(site, "presenter")
        await _until(began + end_s)
        await _join(held, site)
        since_s = time.monotonic() - began
    return [*spans, (since_s, held.live.case.duration_s)]


def _start_beside(held: Conference, tcp_port: int, began: float) -> list[subprocess.Popen[bytes]]:
    """Start the TCP of a case, at the far end of the line."""
    case = held.live.case
    plan = ["0:0"] if case.long_tcp else []
    plan += [f"{start_s:.3f}:{max(int(size_bytes), 1)}" for start_s, size_bytes in short_transfers(case)]
    if not plan:
        return []
    command = [*held.line.enter(0), sys.executable, str(Path(bulk.__file__)), held.line.host, str(tcp_port)]
    return [subprocess.Popen([*command, held.live.way, str(began), *plan], stderr=subprocess.DEVNULL)]


# When a page was in the conference.
Spans = Sequence[tuple[float, float]]


@dataclass
class Page:
    """What a page gave."""

    moments: list[Moment]
    shown: list[float]


async def _read(held: Conference, site: Site, zero: float) -> Page:
    await held.gather(site)
    gathered = held.gathered[site.name]
    return Page(moments(gathered["samples"], zero), [at - zero for at in gathered["shown"]])


def _empty() -> Count:
    return Count(Tally(Clock()), Tally(Clock()))


def _result(
    held: Conference,
    measured: Measured,
    read: Sequence[Page],
    spans: Sequence[Spans],
    load: tuple[float, float, float],
    waited_ms: float,
) -> Result:
    live, case = held.live, held.live.case
    forward = [measured.counts.get((live.way, number, "media")) or _empty() for number in range(len(spans))]
    tcps = [
        count.tally for (way, _, kind), count in measured.counts.items() if way == live.way and kind == "tcp"
    ]
    control, *receivers = read
    per_flow_bps = _whole_bps(control.moments)
    most_bps = per_flow_bps * len(spans) if live.way == "down" else float("inf")
    found = score_flows(case, forward, tcps, most_bps)

    def look(page: Page, there: Spans) -> Seen:
        return seen(
            page.moments,
            page.shown,
            spans=there,
            falls=case.falls,
            rises=case.rises,
            full_px=HEIGHT_PX,
        )

    row = {
        "case": live.name,
        "scaled": live.scaled,
        **asdict(found),
        "most_bps": None if math.isinf(most_bps) else most_bps,
        "receivers": [asdict(look(page, there)) for page, there in zip(receivers, spans, strict=True)],
        "control": asdict(look(control, [(0.0, case.duration_s)])),
        "line": {"late_s": measured.late_s, "core": round(measured.cpu, 3)},
        "load": load,
        "waited": round(waited_ms / 1000 / (case.duration_s + LEAD_S), 3),
    }
    return Result(row, forward, tcps, [page.moments for page in receivers], control.moments)


def _whole_bps(control: Sequence[Moment]) -> float:
    """Return what a flow has whom nothing holds back, in bits on a line: the median of a control's."""
    rates = sorted(
        one.received_bps + 8 * HEADERS_BYTES * FRAMES_PER_S * 10 for one in control if one.at >= 0.0
    )
    return rates[len(rates) // 2] if rates else float("inf")


def commit() -> str:
    """Return the last commit that changed what runs, with a + if files differ from it."""
    runs = ("--", "bridge", "web")
    told = subprocess.run(["git", "log", "-1", "--format=%h", *runs], capture_output=True, text=True)
    differs = subprocess.run(["git", "diff", "--quiet", "HEAD", *runs]).returncode
    return told.stdout.strip() + ("+" if differs else "")


def chromium_version() -> str:
    """Return what Chromium calls itself."""
    return subprocess.run([CHROMIUM, "--version"], capture_output=True, text=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.networks.chromium", description=__doc__)
    parser.add_argument("--only", default="", metavar="TEXT;TEXT", help="cases whose name holds one of these")
    parser.add_argument("--runs", type=int, default=1, help="how often each runs")
    parser.add_argument("--out", type=Path, help="append the lines to this file too")
    parser.add_argument("--plots", type=Path, help="draw each case over time into this folder")
    args = parser.parse_args()
    missing = lacking()
    if missing is not None:
        parser.error(missing)
    # A run that is told to end takes its pages and devices along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    failed = 0
    about = {"commit": commit(), "chromium": chromium_version()}
    for live in (one for one in LIVE if is_chosen(one.name, args.only)):
        for number in range(args.runs):
            try:
                result = asyncio.run(run(live))
            except (AssertionError, TimeoutError, PlaywrightError) as error:
                # A busy machine may open no page in time; the other cases are measured nonetheless.
                print(f"{live.name}: {error}", file=sys.stderr, flush=True)
                failed += 1
                continue
            at = time.strftime("%Y-%m-%dT%H:%M:%S%z")
            row = result.row = {**result.row, **about, "run": number, "at": at}
            line = json.dumps(plain(row), ensure_ascii=False)
            print(line, flush=True)
            if args.out is not None:
                args.out.parent.mkdir(parents=True, exist_ok=True)
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(line + "\n")
            if args.plots is not None:
                args.plots.mkdir(parents=True, exist_ok=True)
                plot(live, result, args.plots)
    sys.exit(min(failed, 1))


if __name__ == "__main__":
    main()
