"""Kills a recording server at random moments, damages its files, and looks at what the archive holds then.

Rooms hold conferences with cases: some patients have consented, some have not, some were not asked, and some
withdraw their consent during the case or after it. Images are shared, and go on being sent in the next case.
Each case has a number that its pictures and sounds tell (`coded`), and each image one of its own. Before
every fifth start one byte somewhere in the state directory is changed. In the end every session must be
sealed, with a gap told for what is missing of it; only what was younger than a second when the server was
killed, or damaged, may be missing; no package may hold a picture or a sound of anything else than its own
case, or from after a withdrawal; and what was withdrawn must wait for people, and go into no other store.

    PYTHONPATH=tests python -m torture --kills 1000 --seed 1 --folder /var/tmp/torture

What happened is written down in the folder, so that a run that was ended goes on where it was.
"""

import argparse
import asyncio
import json
import random
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiortc_peer import Member, member, prefer
from bridge_process import BridgeServer
from coded import CodedCamera, CodedShare, CodedTone
from judged import Fault, catalogue, judge, unstored
from other_store import OtherStore
from recorded import journal, sessions
from warm_server import WarmServer

from bridge.base.words import ConferenceKind
from bridge.node.host import token_secret
from bridge.store.journal import EventKind

ENVIRONMENT = {"HOICHAN_ROOMS_EMPTY_CLOSE_S": "1"}
LIFE_S = 4.0
# So often the other store forgets what it was given, which it has in memory.
EMPTY_EVERY = 50
FLIP_EVERY = 5
# Some are killed before anybody can come in.
KILLED_EARLY = 0.2
EARLY_S = 1.5
IN_WITHIN_S = 30.0
# What is on its way to the server when its number changes.
ON_ITS_WAY_S = 0.4
NEUTRAL_PICTURES = 2
# The stamp in a picture is rounded down to 20 ms, and a picture is up to 67 ms younger than the next one.
LOST_MAX_MS = 1000 + 90
KINDS = (ConferenceKind.CONSULTATION, ConferenceKind.BRIEFING)
CONSENTS = ("granted", "granted", "granted", "refused", "unknown")
# How many cases in which something is shared, and with consent, which is then withdrawn.
SHARES = 0.4
WITHDRAWS = (None, None, None, "during", "after")
STARVED_EVERY_S = 0.02
# The archive may be busy for long, but it does something.
IDLE_MAX_S = 240.0
LOG = "server.log"
PACKAGES = "archive/packages/"


class Ledger:
    """What happened so far, one JSON line each."""

    def __init__(self, path: Path) -> None:
        self._path = path
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        self.lines: list[dict[str, Any]] = [json.loads(line) for line in lines]

    def add(self, kind: str, **data: Any) -> None:
        line = {"kind": kind, **data}
        self.lines.append(line)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["kind"] == kind]

    def new_number(self, room: str, *, case: int | None, is_recorded: bool) -> int:
        """Return a number that nothing else has; it is told in a case, or begins one (0), or in none."""
        number = len(self.of("number")) + 1
        code = None if case is None else f"BN-{case or number:04}"
        self.add("number", number=number, room=room, code=code, is_recorded=is_recorded)
        return number


@dataclass
class Shown:
    """A stretch in which a number was to be seen and heard, or an image to be seen."""

    number: int
    camera: CodedCamera
    from_ms: int
    to_ms: int | None = None


@dataclass(frozen=True)
class Plan:
    """What becomes of a case."""

    consent: str
    shares: bool
    # When it is withdrawn.
    withdraws: str | None = None


# What is seen in every run.
LAST = {
    ConferenceKind.CONSULTATION: (Plan("granted", True, "during"), Plan("granted", True)),
    ConferenceKind.BRIEFING: (Plan("granted", True, "after"), Plan("granted", False)),
}


@dataclass
class Seat:
    """One site that holds conferences, one after the other, through all lives of the server."""

    name: str
    kind: ConferenceKind
    moments: random.Random
    ledger: Ledger
    # Whether it leaves interrupted conferences alone now and then.
    abandons: bool
    rooms: int = 0
    number: int = 0
    camera: CodedCamera = field(default_factory=CodedCamera)
    tone: CodedTone = field(default_factory=CodedTone)
    share: CodedShare = field(default_factory=CodedShare)
    # The number of the image that is shared, through all lives; 0 when nothing is.
    image: int = 0
    invitation: str = ""
    secret: bytes = b""
    shown: list[Shown] = field(default_factory=list)
    # Codes of cases, and when the consent was withdrawn.
    withdrawn: list[tuple[str, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rooms = len([line for line in self.ledger.of("room") if line["seat"] == self.name])
        self.next_room()

    @property
    def room(self) -> str:
        return f"{self.name}-{self.rooms}"

    def next_room(self) -> None:
        self.rooms += 1
        self.ledger.add("room", seat=self.name, room=self.room)
        self.number = self.image = 0
        self.invitation = ""
        if self.kind is ConferenceKind.BRIEFING:
            self.number = self.ledger.new_number(self.room, case=None, is_recorded=True)

    async def hold(self, server: BridgeServer, *, plans: Sequence[Plan] | None = None) -> None:
        """Hold conferences until cancelled, or finish what is open, hold some cases more, and leave."""
        while True:
            self._invite(server)
            async with member(server, "chair", self.name, invitation=self.invitation) as chair:
                chair.messages.insert(0, {"type": "recording", **chair.welcome["room"]["recording"]})
                chair.messages.insert(0, {"type": "cases", "cases": chair.welcome["cases"]})
                self.camera, self.tone, self.share = CodedCamera(), CodedTone(), CodedShare()
                for track in (self.tone, self.camera, self.share):
                    chair.connection.addTransceiver(track, direction="sendonly")
                self.share.number = self.image
                self.share.switch(self.image > 0)
                await chair.say(type="mute", source="content", muted=not self.image)
                prefer(chair.connection, "video/VP8")
                is_up = asyncio.Event()
                chair.connection.on(
                    "connectionstatechange",
                    lambda pc=chair.connection, up=is_up: (
                        up.set() if pc.connectionState == "connected" else None
                    ),
                )
                await chair.offer(publications={"0": "microphone", "1": "camera", "2": "content"}, slots={})
                async with asyncio.timeout(IN_WITHIN_S):
                    await is_up.wait()
                if _active(chair) is not None:
                    await self._discuss(chair, self._plan())
                for plan in plans or ():
                    await self._discuss(chair, plan)
                while plans is None:
                    await self._discuss(chair, self._plan())
                    if self.moments.random() < 0.2:
                        break
                await chair.say(type="leave")
            self.note()
            self.next_room()
            if plans is not None:
                return

    def _invite(self, server: BridgeServer) -> None:
        """Come back with the same link, as a page does, unless the server's secret was damaged meanwhile."""
        secret = token_secret(server.state_dir)
        if not self.invitation or secret != self.secret:
            self.secret = secret
            self.invitation = server.invite("chair", self.name, room=self.room, kind=self.kind)

    def _plan(self) -> Plan:
        consent, shares = self.moments.choice(CONSENTS), self.moments.random() < SHARES
        return Plan(consent, shares, self.moments.choice(WITHDRAWS))

    async def _discuss(self, chair: Member, plan: Plan) -> None:
        """Go on with the open case, or begin one; and end it."""
        case = _active(chair)
        if case is None:
            if self.number:
                await chair.told("recording", state="recording", case=None)
                await self._show(self.number, self.moments.uniform(0.2, 1.0))
            case = await self._begin(chair, plan.consent)
        elif case["consent"] == "granted":
            await chair.say(type="confirm_case", case=case["case"], code=case["code"])
        number = int(case["code"].removeprefix("BN-"))
        if case["consent"] == "granted":
            await chair.told("recording", state="recording", case=case["case"])
            if plan.shares:
                await self._share(chair, self.ledger.new_number(self.room, case=number, is_recorded=True))
            await self._show(number, self.moments.uniform(0.2, 3.0), is_shared=plan.shares)
            if plan.withdraws == "during":
                await self._withdraw(chair, case)
        if case["consent"] != "granted" or plan.withdraws == "during":
            await chair.told("recording", state="waiting", case=case["case"])
            number = self.ledger.new_number(self.room, case=number, is_recorded=False)
            await self._show(number, self.moments.uniform(0.2, 1.0))
        await chair.say(type="finish_case", case=case["case"])
        await chair.told("recording", case=None)
        await chair.until("cases", lambda _: _active(chair) is None)
        if case["consent"] == "granted" and plan.withdraws == "after":
            await self._withdraw(chair, case)
        if self.image and self.moments.random() < 0.3:
            # Else it goes on in what comes next.
            await self._end_share(chair)

    async def _begin(self, chair: Member, consent: str) -> dict[str, Any]:
        number = self.ledger.new_number(self.room, case=0, is_recorded=consent == "granted")
        code = f"BN-{number:04}"
        await chair.say(type="add_case", code=code)
        await chair.until("cases", lambda one: any(case["code"] == code for case in one["cases"]))
        (case,) = [case for case in _cases(chair) if case["code"] == code]
        if consent != "unknown":
            await chair.say(type="consent", case=case["case"], state=consent)
        await chair.say(type="start_case", case=case["case"])
        return {**case, "consent": consent}

    async def _withdraw(self, chair: Member, case: dict[str, Any]) -> None:
        await chair.say(type="consent", case=case["case"], state="withdrawn")
        await chair.until(
            "cases",
            lambda one: (case["case"], "withdrawn") in [(x["case"], x["consent"]) for x in one["cases"]],
        )
        self.withdrawn.append((case["code"], _now_ms()))

    async def _share(self, chair: Member, image: int) -> None:
        """Share an image of this case; what is shared already is shared anew, or confirmed."""
        if self.image and self.moments.random() < 0.5:
            self.share.number = 0
            await self.share.drawn(NEUTRAL_PICTURES)
            await asyncio.sleep(ON_ITS_WAY_S)
            await chair.say(type="show_content", participant=chair.participant, source="content")
        else:
            if self.image:
                await self._end_share(chair)
            self.share.switch(True)
            await chair.say(type="mute", source="content", muted=False)
        await chair.told("content", participant=chair.participant, source="content")
        self.image = self.share.number = image

    async def _end_share(self, chair: Member) -> None:
        self.image = self.share.number = 0
        await self.share.drawn(NEUTRAL_PICTURES)
        await asyncio.sleep(ON_ITS_WAY_S)
        await chair.say(type="mute", source="content", muted=True)
        self.share.switch(False)

    async def _show(self, number: int, seconds: float, *, is_shared: bool = False) -> None:
        """Show a number for some time, and look after the image, which is shown longer."""
        self.camera.number = self.tone.number = number
        shown = [Shown(number, self.camera, _now_ms())]
        if is_shared:
            shown.append(Shown(self.image, self.share, _now_ms()))
        self.shown += shown
        await asyncio.sleep(seconds)
        self.camera.number = self.tone.number = 0
        for one in shown:
            one.to_ms = _now_ms()
        await self.camera.drawn(NEUTRAL_PICTURES)
        await asyncio.sleep(ON_ITS_WAY_S)

    def note(self, killed_ms: int | None = None, lost_max_ms: float = 0.0) -> None:
        """Write down what was to be seen since the last time."""
        for shown in self.shown:
            to_ms = shown.to_ms or killed_ms or _now_ms()
            if killed_ms is not None:
                to_ms = min(to_ms, round(killed_ms - lost_max_ms))
            taken = [
                at
                for at, number in shown.camera.taken
                if number == shown.number and shown.from_ms <= at <= to_ms
            ]
            self.ledger.add(
                "shown",
                number=shown.number,
                source="content" if isinstance(shown.camera, CodedShare) else "camera",
                room=self.room,
                from_ms=shown.from_ms,
                to_ms=to_ms,
                taken=taken,
            )
        self.shown.clear()
        for code, at_ms in self.withdrawn:
            # What was said in the last second may be lost, and people see that it is.
            if killed_ms is None or at_ms <= killed_ms - lost_max_ms:
                self.ledger.add("withdrawn", room=self.room, code=code, at_ms=at_ms)
        self.withdrawn.clear()


def _cases(chair: Member) -> list[dict[str, Any]]:
    newest = next(one for one in reversed(chair.messages) if one["type"] == "cases")
    cases: list[dict[str, Any]] = newest["cases"] or []
    return cases


def _active(chair: Member) -> dict[str, Any] | None:
    return next((case for case in _cases(chair) if case["state"] == "active"), None)


def _now_ms() -> int:
    return round(time.time() * 1000)


class Starvation:
    """How long the machine kept this process waiting in the last second: the server waited as long."""

    def __init__(self) -> None:
        self._late_ms = [0.0]

    async def watch(self) -> None:
        while True:
            due = time.monotonic() + STARVED_EVERY_S
            await asyncio.sleep(STARVED_EVERY_S)
            self._late_ms.append((time.monotonic() - due) * 1000)

    def in_last_second_ms(self) -> float:
        return sum(self._late_ms[-round(1 / STARVED_EVERY_S) :])


def flip(state_dir: Path, moments: random.Random) -> dict[str, Any]:
    """Change one byte of one file; return which."""
    files = sorted(
        path for path in state_dir.rglob("*") if path.is_file() and path.name != LOG and path.stat().st_size
    )
    path = moments.choice(files)
    offset = moments.randrange(path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(offset)
        was = file.read(1)[0]
        became = was ^ moments.randrange(1, 256)
        file.seek(offset)
        file.write(bytes([became]))
    name = str(path.relative_to(state_dir))
    return {"file": name, "offset": offset, "was": was, "became": became}


async def one_life(
    server: BridgeServer, seats: Sequence[Seat], moments: random.Random, life_s: float
) -> None:
    """Start the server, let people hold their conferences, and kill it."""
    ledger = seats[0].ledger
    await asyncio.to_thread(server.launch)
    if moments.random() < KILLED_EARLY:
        await asyncio.sleep(moments.uniform(0.0, EARLY_S))
        await asyncio.to_thread(server.kill)
        ledger.add("kill", at_ms=_now_ms(), early=True)
        return
    await asyncio.to_thread(server.wait_until_ready)
    starvation = Starvation()
    watch = asyncio.create_task(starvation.watch())
    people = [asyncio.create_task(seat.hold(server)) for seat in seats]
    await asyncio.wait(people, timeout=moments.uniform(0.0, life_s), return_when=asyncio.FIRST_EXCEPTION)
    for task in people:
        if task.done() and task.exception() is not None:
            ledger.add("trouble", what=repr(task.exception()))
    killed_ms = _now_ms()
    lost_max_ms = LOST_MAX_MS + starvation.in_last_second_ms()
    await asyncio.to_thread(server.kill)
    for task in (*people, watch):
        task.cancel()
    await asyncio.gather(*people, watch, return_exceptions=True)
    for seat in seats:
        seat.note(killed_ms, lost_max_ms)
        if seat.abandons and moments.random() < 0.2:
            seat.next_room()
    ledger.add("kill", at_ms=killed_ms)


async def torture(
    folder: Path, *, kills: int, seed: int, seats: int, abandons: bool, life_s: float = LIFE_S
) -> list[Fault]:
    """Kill so often, and return what is wrong with what is left."""
    ledger = Ledger(folder / "ledger.jsonl")
    store = OtherStore(folder)
    store.start()
    server = WarmServer(folder / "state", environment={**ENVIRONMENT, **store.environment})
    places = [
        Seat(
            f"phong-{number}", KINDS[number % len(KINDS)], random.Random(f"{seed} {number}"), ledger, abandons
        )
        for number in range(seats)
    ]
    try:
        for number in range(len(ledger.of("kill")), kills):
            moments = random.Random(f"{seed} life {number}")
            if number % FLIP_EVERY == FLIP_EVERY - 1:
                ledger.add("flip", number=number, **flip(server.state_dir, moments))
            if number % EMPTY_EVERY == EMPTY_EVERY - 1:
                store.empty()
            await one_life(server, places, moments, life_s)
            _print(f"{number + 1} of {kills} kills")
        await asyncio.to_thread(server.start)
        left = [] if abandons else _left_rooms(server, {seat.room for seat in places})
        await asyncio.gather(
            *(seat.hold(server, plans=LAST[seat.kind]) for seat in places),
            *(look_in(server, room) for room in left),
        )
        await until_archived(server, ledger)
    finally:
        if server.process is not None:
            await asyncio.to_thread(server.stop)
        store.stop()
    return judge(server.state_dir, ledger.lines, store.puts)


def _left_rooms(server: BridgeServer, but: set[str]) -> set[str]:
    """Return the rooms that were left shortly before the server was killed."""
    open_ones = [path for path in sessions(server) if not _is_closed(path)]
    return {journal(path)[0].data["room"] for path in open_ones} - but


async def look_in(server: BridgeServer, room: str) -> None:
    """Come back to a room and leave it, which ends its session sooner than the server does by itself."""
    async with member(server, "chair", "Trực", room=room) as chair:
        await chair.say(type="leave")


async def until_archived(server: BridgeServer, ledger: Ledger) -> None:
    """Wait until every session has an end, every package is made or given up, and stored where it may be."""
    flipped = {Path(line["file"]).parts[2] for line in ledger.of("flip") if line["file"].startswith(PACKAGES)}
    last: object = None
    changed_at = time.monotonic()
    while True:
        now = standing(server.state_dir, flipped)
        if now.is_done:
            return
        if now != last:
            last, changed_at = now, time.monotonic()
            _print(
                f"waiting for {now.open} sessions, packages {dict(now.states)}, to be stored {now.unstored}"
            )
        if time.monotonic() - changed_at > IDLE_MAX_S:
            _print(f"nothing happens any more: {now}")
            return
        await asyncio.sleep(0.5)


@dataclass(frozen=True)
class Standing:
    """How far the archive is."""

    open: tuple[str, ...]
    states: tuple[tuple[str, int], ...]
    unstored: int

    @property
    def is_done(self) -> bool:
        return (
            not self.open
            and not self.unstored
            and {state for state, _ in self.states} <= {"sealed", "failed"}
        )


def standing(state_dir: Path, flipped: set[str]) -> Standing:
    """Return which sessions are open, how many packages are in which state, and how many are to be stored."""
    recordings = state_dir / "recordings"
    names = [path.name for path in recordings.glob("HC-*") if path.is_dir()]
    states: Counter[str] = Counter()
    known: set[str] = set()
    waiting_to_go: set[str] = set()
    with suppress(sqlite3.Error), catalogue(state_dir) as database:
        known = {
            name for (name,) in database.execute("SELECT session FROM packages WHERE state != 'recording'")
        }
        states.update(state for (state,) in database.execute("SELECT state FROM packages"))
        waiting_to_go = unstored(state_dir) - flipped
    waiting = [name for name in names if name not in known or not _is_closed(recordings / name)]
    return Standing(tuple(sorted(waiting)), tuple(sorted(states.items())), len(waiting_to_go))


def _is_closed(session: Path) -> bool:
    # However damaged, the last line is the end.
    lines = (session / "journal.jsonl").read_bytes().splitlines()
    return bool(lines) and EventKind.SESSION_CLOSED.value.encode() in lines[-1]


def _print(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def report(faults: Iterable[Fault], ledger: Ledger, seed: int) -> dict[str, Any]:
    """Return what a run has shown."""
    flips = ledger.of("flip")
    return {
        "seed": seed,
        "kills": len(ledger.of("kill")),
        "flips": len(flips),
        "conferences": len({line["room"] for line in ledger.of("shown")}),
        "cases": len({line["code"] for line in ledger.of("number") if line["code"]}),
        "withdrawn": len(ledger.of("withdrawn")),
        "images": len({line["number"] for line in ledger.of("shown") if line["source"] == "content"}),
        "pictures": sum(len(line["taken"]) for line in ledger.of("shown")),
        "faults": [str(fault) for fault in faults],
    }


def main() -> int:
    """Run, and print what was found as one JSON line; 1 when anything is wrong."""
    # Whoever ends it leaves no server behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument(
        "--seed", type=int, default=None, help="printed; the same moments again with the same"
    )
    parser.add_argument("--seats", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="where a run is kept, and goes on; a new one each time unless given"
    )
    parser.add_argument("--judge", action="store_true", help="only look at what is in the folder")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="hoichan-torture-"))
    folder.mkdir(parents=True, exist_ok=True)
    ledger = Ledger(folder / "ledger.jsonl")
    if not ledger.of("seed"):
        given = options.seed
        ledger.add("seed", seed=random.SystemRandom().randrange(1 << 32) if given is None else given)
    seed = int(ledger.of("seed")[0]["seed"])
    _print(f"seed {seed}, in {folder}")
    if options.judge:
        faults = judge(folder / "state", Ledger(folder / "ledger.jsonl").lines, OtherStore(folder).puts)
    else:
        faults = asyncio.run(
            torture(folder, kills=options.kills, seed=seed, seats=options.seats, abandons=True)
        )
    print(json.dumps(report(faults, Ledger(folder / "ledger.jsonl"), seed), ensure_ascii=False))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
