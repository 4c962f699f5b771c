"""What does a day of many tracks ask of a server that starts beside it, and of its composition?

Makes a session of 8 hours and 40 tracks as a killed server leaves it: cameras in 180 lines, and in 720 for
their minute on stage, an X-ray on show at times, microphones that send while somebody speaks, sender reports
each second, gaps. Then a real server is started beside it, and people join: one a new room, one the room of
the session. Afterwards the session is composed, its memory watched, and the gaps that are told are compared
with those that were put in. `--minutes` makes so much of the film only, from all over the day; planning and
the look for gaps are of the whole, and what joining takes is not seen then.
"""

import argparse
import asyncio
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks.compose import MemoryWatch
from benchmarks.conference import Ports, free_ports, launched
from benchmarks.joining import join
from benchmarks.long_files import CASE, ROOM, Told, make
from bridge.archive.film.compose import ComposeSettings, compose
from bridge.archive.film.crew import ConfinedCrew
from bridge.archive.film.orders import Count, Finish, Order, Shoot
from bridge.archive.model import Gap, Progress, Report, SessionFolder
from bridge.archive.plan.programme import open_ends, plan_packages
from bridge.archive.tracks.merging import merged
from bridge.archive.tracks.tracks import find_gaps, of_case, read_tracks
from bridge.base.words import Level, Role
from bridge.capture.repair import repair_session
from bridge.store.journal import Chain, EventKind, JournalFile, read_journal
from bridge.tokens import Tokens, load_secret

PATIENCE_S = 60.0
# A gap is told as of when its frames were taken, by a clock that was corrected.
FIT_MS = 100


# Starting.


@dataclass(frozen=True, slots=True)
class Start:
    """When a server was ready and people were in, in seconds from its start on."""

    ready_s: float
    in_s: float
    in_own_room_s: float
    # Whether the session was gone on with by who came into its room.
    went_on: bool


async def starting(state: Path, session: str) -> Start:
    """Start a server, with somebody at its door from the beginning and somebody at the session's room."""
    ports, log = free_ports(), state / "server.log"
    invitations = {room: _invitation(state, room) for room in ("khac", ROOM)}
    begun = time.monotonic()
    with launched(ports, state, log, {}):
        ready_s, in_s, in_own_room_s = await asyncio.gather(
            _until_ready(ports, begun),
            _until_in(ports, invitations["khac"], begun),
            _until_in(ports, invitations[ROOM], begun),
        )
        went_on = f"session {session} goes on" in log.read_text(encoding="utf-8", errors="replace")
    return Start(ready_s, in_s, in_own_room_s, went_on)


def _invitation(state_dir: Path, room: str) -> str:
    tokens = Tokens(load_secret(state_dir / "token-secret"))
    return tokens.invitation(
        room=room,
        title="Hội chẩn",
        site="Bệnh viện tỉnh",
        level=Level.PROVINCE,
        role=Role.CHAIR,
        lifetime_s=3600,
    )


async def _until_ready(ports: Ports, begun: float) -> float:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports.admin}") as client:
        while time.monotonic() < begun + PATIENCE_S:
            try:
                async with client.get("/readyz") as reply:
                    if reply.status == 200:
                        return round(time.monotonic() - begun, 2)
            except aiohttp.ClientError:
                pass
            await asyncio.sleep(0.02)
    return math.inf


async def _until_in(ports: Ports, invitation: str, begun: float) -> float:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{ports.http}") as client:
        while time.monotonic() < begun + PATIENCE_S:
            try:
                websocket = await join(client, invitation, "BS. An")
            except (aiohttp.ClientError, ConnectionError):
                await asyncio.sleep(0.02)
            else:
                in_s = round(time.monotonic() - begun, 2)
                await websocket.close()
                return in_s
    return math.inf


# Composing.


class _Enough(Exception):
    """As much of the film is made as was asked for."""


class _PartCrew:
    """Makes so many slices of the film, of its beginning, its middle and its end."""

    def __init__(self, slices: int) -> None:
        self._slices = slices
        self._crew = ConfinedCrew()

    def carry_out(self, orders: Sequence[Order], count: Count) -> list[Any]:
        if any(isinstance(order, Finish) for order in orders):
            raise _Enough
        few = [
            replace(order, slices=order.slices[:: max(1, len(order.slices) * len(orders) // self._slices)])
            if isinstance(order, Shoot)
            else order
            for order in orders
        ]
        return self._crew.carry_out(few, count)


@dataclass(frozen=True, slots=True)
class Composed:
    """What a composition took."""

    recorded_h: float
    repaired_s: float
    composed_s: float
    peak_memory_mb: int


@dataclass(frozen=True, slots=True)
class Gaps:
    """How many gaps were put in, found, and told within `FIT_MS` of where they are."""

    made: int
    found: int
    fitting: int


def composing(session: Path, minutes: float) -> tuple[Composed, list[Gap]]:
    """Compose the case, or so many minutes of it; return what that took, and the gaps of the whole."""
    began = time.monotonic()
    interrupted = repair_session(session)
    assert interrupted is not None
    repaired_s = time.monotonic() - began
    journal = JournalFile(session / "journal.jsonl")
    closed = Chain(journal.events[-1]).append(
        EventKind.SESSION_CLOSED, {"reason": "interrupted"}, interrupted.ended_ms
    )
    journal.write([closed])
    journal.close()
    folder = SessionFolder(session, read_journal(session / "journal.jsonl"))
    (plan,) = [plan for plan in plan_packages(folder.events) if plan.case == CASE]
    settings = ComposeSettings()
    with tempfile.TemporaryDirectory() as work, MemoryWatch() as memory:
        began = time.monotonic()
        crew = _PartCrew(round(minutes * 60 / settings.slice_s)) if minutes else ConfinedCrew()
        try:
            gaps = compose(folder, plan, Path(work), settings=settings, report=_told(began), crew=crew).gaps
        except _Enough:
            # What the last order does beside joining.
            tracks = of_case(read_tracks(folder), CASE)
            gaps = merged(find_gaps(tracks, plan.spans, open_ends(folder.events)))
        composed_s = time.monotonic() - began
    recorded_ms = sum(span.end_ms - span.start_ms for span in plan.spans)
    took = Composed(
        recorded_h=round(recorded_ms / 3_600_000, 2),
        repaired_s=round(repaired_s, 2),
        composed_s=round(composed_s, 1),
        peak_memory_mb=round(memory.peak_mb),
    )
    return took, list(gaps)


def _told(began: float) -> Report:
    """Return who tells on standard error how far it is."""
    told = [0.0]

    def tell(progress: Progress) -> None:
        if time.monotonic() > told[0] + 10:
            told[0] = time.monotonic()
            print(f"{told[0] - began:.0f} s: {progress.done:.1%}", file=sys.stderr)

    return tell


def compared(made: Sequence[Told], found: Sequence[Gap]) -> Gaps:
    """Compare what was put in with what is told."""
    by_track: dict[tuple[str, str], list[Gap]] = {}
    for gap in found:
        by_track.setdefault((gap.track, gap.reason), []).append(gap)
    fitting = sum(
        any(
            abs(gap.start_ms - one.start_ms) <= FIT_MS and abs(gap.end_ms - one.end_ms) <= FIT_MS
            for gap in by_track.get((one.track, one.reason), [])
        )
        for one in made
    )
    return Gaps(len(made), len(found), fitting)


def main() -> None:
    """Run, and print a table or one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hours", type=float, default=8.0)
    parser.add_argument("--tracks", type=int, default=40)
    parser.add_argument("--minutes", type=float, default=0.0, help="compose only so much; 0: everything")
    parser.add_argument("--starts", type=int, default=3, help="how often a server is started beside it")
    parser.add_argument("--dir", type=Path, help="where the files are made")
    parser.add_argument("--json", action="store_true", help="one line instead of a table")
    options = parser.parse_args()
    result: dict[str, Any] = {"hours": options.hours, "tracks": options.tracks}
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-", dir=options.dir) as directory:
        recordings = Path(directory) / "recordings"
        session, made = make(recordings, options.hours, options.tracks, round(time.time() * 1000))
        result["bytes"] = sum(path.stat().st_size for path in session.rglob("*") if path.is_file())
        starts = [
            asyncio.run(starting(state_dir(Path(directory) / f"state-{number}", session), session.name))
            for number in range(options.starts)
        ]
        result["starts"] = [asdict(start) for start in starts]
        composed, found = composing(session, options.minutes)
        result |= asdict(composed) | {"gaps": asdict(compared(made, found))}
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:20} {value}")


def state_dir(folder: Path, session: Path) -> Path:
    """Return a state directory with the session as it was left; files that no repair changes are shared."""
    last = {max(path.name for path in track.glob("*.mkv")) for track in (session / "tracks").iterdir()}
    for path in session.rglob("*"):
        copy = folder / "recordings" / session.name / path.relative_to(session)
        if path.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".mkv" and path.name not in last:
                copy.hardlink_to(path)
            else:
                shutil.copy2(path, copy)
    return folder


if __name__ == "__main__":
    main()
