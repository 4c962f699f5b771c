"""The scorecard with real pages: the shaped line does what it says, what is committed holds its floors."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from benchmarks.networks.card import TABLE, merge, read_card, read_known_misses, table
from benchmarks.networks.cases import CASES, Case
from benchmarks.networks.clock import Clock
from benchmarks.networks.floors import FLOORS, judge, medians
from benchmarks.networks.line import Line, Loss, Outages, Schedule
from benchmarks.networks.live import LIVE
from benchmarks.networks.seen import Seen, moments, seen, stills_s
from benchmarks.networks.shaper import Measured, Setup
from benchmarks.networks.tunnel import PREFIX, Tunnel, delete_left_behind, lacking, tunnel

needs_line = pytest.mark.skipif(lacking() is not None, reason=str(lacking()))

PORT = 5000
PACKET_BYTES = 1_200
HEADERS_BYTES = 28
# SO_RCVBUFFORCE: a process that is kept waiting is to lose nothing.
RECEIVE_BUFFER_FORCE, BUFFER_BYTES = 33, 16_000_000
LAST_EVERY_S = 0.1
# Answers to every datagram with its first bytes; runs in the namespace.
ECHO = f"""
import socket
echo = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
echo.setsockopt(socket.SOL_SOCKET, {RECEIVE_BUFFER_FORCE}, {BUFFER_BYTES})
echo.bind(("0.0.0.0", {PORT}))
print("ready", flush=True)
while True:
    data, peer = echo.recvfrom(2000)
    echo.sendto(data[:12], peer)
"""


def _no_losses() -> tuple[Loss, ...]:
    return ()


def _outage() -> tuple[Loss, ...]:
    return (Outages([(1.0, 1.4)]),)


@pytest.fixture
def echoed(request: pytest.FixtureRequest) -> Iterator[Tunnel]:
    """A line to a namespace that answers."""
    with tunnel(request.param) as line:
        process = subprocess.Popen([*line.enter(0), sys.executable, "-c", ECHO], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout:
            process.stdout.readline()
            try:
                yield line
            finally:
                process.kill()
                process.wait()


@dataclass
class Exchange:
    """What came of sending packets down a line."""

    sent: int = 0
    # Of those, packets that were sent after all others until one was answered: nothing is under way then.
    last: int = 0
    lasted_s: float = 0.0
    trips_s: list[float] = field(default_factory=list)


def _exchange(line: Tunnel, packets_per_s: float, seconds: float) -> Exchange:
    """Send packets down the line and take the answers, until one came to what was sent last."""
    found = Exchange()
    count, answered = round(packets_per_s * seconds), -1.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as socket_:
        socket_.setsockopt(socket.SOL_SOCKET, RECEIVE_BUFFER_FORCE, BUFFER_BYTES)
        socket_.connect((line.addresses[0], PORT))
        socket_.setblocking(False)
        began = time.monotonic()
        ended_s = float("inf")
        while answered < ended_s:
            now_s = time.monotonic() - began
            due = min(now_s * packets_per_s, count)
            if found.sent >= count:
                ended_s = min(ended_s, now_s)
                due = count + (now_s - ended_s) / LAST_EVERY_S
            while found.sent < due:
                found.lasted_s = time.monotonic() - began
                socket_.send(f"{found.lasted_s:012.6f}".encode() + bytes(PACKET_BYTES - 12))
                found.sent += 1
            try:
                while True:
                    answered = float(socket_.recv(100))
                    found.trips_s.append(time.monotonic() - began - answered)
            except BlockingIOError:
                time.sleep(0.001)
    found.last = found.sent - count
    return found


def _down(measured: Measured) -> tuple[int, float, dict[str, int]]:
    count = measured.counts["down", 0, "media"].tally
    return count.packets, sum(count.bits.values()), dict(count.losses)


@needs_line
@pytest.mark.parametrize(
    "echoed",
    [Setup(Case("narrow", [(0.0, 2e6)], 2.0, queue_s=0.1, delay=((0.0, 0.04),)))],
    indirect=True,
)
def test_line_has_its_rate_its_queue_and_its_delay(echoed: Tunnel) -> None:
    echoed.begin(0.0)
    # Half as much again as the line carries.
    found = _exchange(echoed, 3e6 / 8 / (PACKET_BYTES + HEADERS_BYTES), 1.2)
    packets, bits, losses = _down(echoed.finish())
    trips = sorted(found.trips_s)
    # Both delays, and never less; most have found others before them.
    assert trips[0] >= 0.08
    assert trips[len(trips) // 2] >= 0.08 + 0.05
    assert losses.keys() == {"queue"}
    # What arrived is what the rate carries in that time, and the queue's rest after it.
    assert bits <= 2e6 * (found.lasted_s + 0.1) * 1.05
    assert packets * 8 * (PACKET_BYTES + HEADERS_BYTES) > bits
    # Whatever the machine did, what was not dropped was handed on, but for what was sent last.
    passed = bits / 8 / (PACKET_BYTES + HEADERS_BYTES)
    assert packets - losses["queue"] - found.last <= passed <= packets - losses["queue"]


@needs_line
@pytest.mark.parametrize(
    "echoed",
    [Setup(Case("gone", [(0.0, 20e6)], 2.0, delay=((0.0, 0.0),), losses=_outage, back_losses=_no_losses))],
    indirect=True,
)
def test_line_carries_thousands_of_packets_and_nothing_in_an_outage(echoed: Tunnel) -> None:
    # Before its case begins a line loses nothing.
    echoed.begin(-0.5)
    before = _exchange(echoed, 500.0, 0.1)
    assert len(before.trips_s) >= 50
    echoed.begin(0.0)
    found = _exchange(echoed, 2_000.0, 1.6)
    packets, _, losses = _down(echoed.finish())
    assert packets == found.sent
    # 0.4 s of 2,000 a second; how many a busy machine sends in just that time is its affair.
    assert losses.keys() == {"line"}
    assert 0 < losses["line"] < 1_600
    # Whatever was not lost was answered, but for what was sent last.
    assert packets - losses["line"] - found.last <= len(found.trips_s) <= packets - losses["line"]


@needs_line
def test_namespaces_of_a_killed_run_go_at_the_next_start() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    name = f"{PREFIX}{process.pid}s0"
    subprocess.run(["ip", "netns", "add", name], check=True)
    sleeper = subprocess.Popen(["ip", "netns", "exec", name, "sleep", "600"])
    while str(sleeper.pid) not in _in_namespace(name):
        time.sleep(0.01)
    delete_left_behind()
    assert sleeper.wait(10) < 0
    assert name not in subprocess.run(["ip", "netns"], capture_output=True, text=True).stdout


def _in_namespace(name: str) -> list[str]:
    return subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True).stdout.split()


def test_packets_of_a_flow_stay_in_order_where_the_delay_falls() -> None:
    case = Case("shorter", [(0.0, 1e6)], 3.0, delay=((0.0, 0.2), (1.0, 0.01)), jitter_s=0.02)
    order: list[int] = []
    clock = Clock()
    line = Line(clock, Schedule(case.rate), delay_s=Schedule(case.delay), jitter_s=case.jitter_s)
    for number in range(200):
        clock.at(0.01 * number, line.send, 500, 0.0, lambda wait_s, which: order.append(which), number)
    clock.run(3.0)
    assert order == list(range(200))


def _sample(at: float, frames: int, concealed: int, **more: object) -> dict[str, object]:
    return {
        "at": at,
        "connection": 1,
        "height_px": 720,
        "estimate_bps": 1e6,
        "line": "good",
        "picture": "A",
        "lag_ms": 0.0,
        "stage": {"frames": frames},
        "voice": {"samples": round(48_000 * (at - 100.0)), "concealed": concealed, "packets": 0, "lost": 0},
        "received_bytes": 0,
        **more,
    }


def _look(samples: list[dict[str, object]], shown: list[float]) -> Seen:
    return seen(moments(samples, 101.0), shown, spans=[(0.0, 4.0)], falls=(), rises=(1.0,), full_px=720)


def test_picture_that_never_comes_back_is_a_still() -> None:
    assert stills_s([0.1, 0.2, 1.0], 0.0, 5.0) == pytest.approx([0.8, 4.0])


def test_page_that_leaves_and_comes_again_is_spared_its_absence() -> None:
    samples = [_sample(at, round(10 * (at - 100.0)), 0) for at in (100.5, 101.0, 101.5)]
    samples += [_sample(at, round(10 * (at - 103.0)), 0, connection=2) for at in (103.5, 104.0, 104.5, 105.0)]
    shown = [0.1 * n for n in range(5)] + [2.5 + 0.1 * n for n in range(15)]
    spans = [(0.0, 0.5), (2.9, 4.0)]
    found = seen(moments(samples, 101.0), shown, spans=spans, falls=(), rises=(), full_px=720)
    assert (found.stills, found.concealed) == (0, 0.0)
    assert (
        seen(moments(samples, 101.0), shown, spans=[(0.0, 4.0)], falls=(), rises=(), full_px=720).stills == 1
    )


def test_page_is_read_by_what_grew() -> None:
    samples = [_sample(100.0 + 0.5 * n, min(n, 5) * 5, n * 2_400) for n in range(13)]
    found = _look(samples, [0.1 * n for n in range(1, 15)])
    assert found.concealed == pytest.approx(0.1)
    # From 1.5 s on it stands, and the page says what it said.
    assert found.longest_still_s == pytest.approx(2.6)
    assert found.unsaid_still_s == pytest.approx(1.0)
    assert found.heights == {0: 0.5, 720: 0.5}
    assert found.height_px == 0


def test_voice_of_a_connection_that_is_gone_is_missing() -> None:
    samples = [_sample(100.5, 5, 0), _sample(101.0, 10, 0), _sample(104.0, 2, 0, connection=2)]
    samples[2]["voice"] = {"samples": 24_000, "concealed": 0, "packets": 0, "lost": 0}
    found = _look(samples, [])
    assert found.concealed == pytest.approx(2.5 / 3.5)


def test_committed_scorecard_holds_its_floors_or_says_so() -> None:
    columns = read_card()["columns"]
    known = read_known_misses()
    missed = {
        (one.floor.case, one.floor.measure, one.floor.bound): one.value
        for one in judge(columns[-1]["rows"])
        if one.is_missed
    }
    # What is missed and not written down is a step back; what is written down and held was mended.
    assert missed == known


def test_committed_table_is_that_of_the_committed_numbers() -> None:
    assert TABLE.read_text(encoding="utf-8") == table(read_card())


def test_floors_and_live_cases_are_named_alike() -> None:
    names = {live.name for live in LIVE}
    assert {floor.case for floor in FLOORS} <= names
    assert {live.case.name for live in LIVE} <= {case.name for case in CASES}


def test_cases_that_are_measured_anew_replace_their_rows() -> None:
    old = [{"case": "a", "n": 1}, {"case": "a", "n": 2}, {"case": "b", "n": 3}]
    assert merge(old, [{"case": "a", "n": 4}], ("case",)) == [{"case": "b", "n": 3}, {"case": "a", "n": 4}]


def _run_row(concealed: float, control: float, late_s: float = 0.001) -> dict[str, object]:
    row = read_card()["columns"][-1]["rows"][0]
    receivers = [{**one, "concealed": concealed} for one in row["receivers"]]
    line = {**row["line"], "late_s": [0.0, late_s, late_s]}
    more = {"case": "RFC 8867 5.1 one flow", "receivers": receivers, "line": line}
    return {**row, **more, "control": {**row["control"], "concealed": control}}


def test_runs_that_the_machine_spoiled_count_only_where_there_are_no_others() -> None:
    spoiled = [_run_row(0.5, 0.2), _run_row(0.6, 0.0, late_s=0.2)]
    assert medians([*spoiled, _run_row(0.1, 0.001)])["concealed"] == 0.1
    assert medians(spoiled)["concealed"] == pytest.approx(0.55)
    # And no floor is held, or missed, by a machine.
    assert {one.value for one in judge(spoiled)} == {None}
