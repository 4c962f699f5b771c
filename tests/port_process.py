"""A media port in a process of its own, whose time and memory can be measured apart from its clients'.

As a program: reads one line of JSON (how many transports, the clients' fingerprints), prints one with the
ports's number and the credentials; then answers each line `report` with what it has seen.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import uvloop

from bridge.base.counters import PortCounters
from bridge.transport import Certificate, MediaPort, Transport, TransportState

ROOT = Path(__file__).parents[1]
LAG_EVERY_S = 0.005


class Receiver:
    """Counts what arrives over one transport."""

    def __init__(self) -> None:
        self.count = 0

    def receive_rtp(self, data: bytes, arrival: float) -> None:
        self.count += 1

    def receive_rtcp(self, data: bytes, arrival: float) -> None:
        self.count += 1

    def receives(self, ssrc: int) -> bool:
        return False

    def transport_state(self, state: TransportState) -> None:
        pass


class PortProcess:
    """The process, as its clients see it."""

    def __init__(self, count: int, fingerprints: list[tuple[str, str]], *, role: str = "server") -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.opened = self._ask({"count": count, "fingerprints": fingerprints, "role": role})
        self.port: int = self.opened["port"]
        self.fingerprint: str = self.opened["fingerprint"]
        self.credentials: list[tuple[str, str]] = [(one[0], one[1]) for one in self.opened["credentials"]]
        self._measured = psutil.Process(self._process.pid)

    def report(self) -> dict[str, Any]:
        """Return the longest lag since the last report, the states, what arrived and was dropped."""
        return self._ask("report")

    def cpu_s(self) -> float:
        times = self._measured.cpu_times()
        return float(times.user + times.system)

    def resident_bytes(self) -> int:
        return int(self._measured.memory_info().rss)

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def _ask(self, question: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def port_process(count: int, fingerprints: list[tuple[str, str]]) -> Iterator[PortProcess]:
    process = PortProcess(count, fingerprints)
    try:
        yield process
    finally:
        process.close()


class Lag:
    """The longest time that the event loop did not come round."""

    def __init__(self) -> None:
        self.longest_s = 0.0

    async def run(self) -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(LAG_EVERY_S)
            self.longest_s = max(self.longest_s, time.monotonic() - before - LAG_EVERY_S)


async def main() -> None:
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    wanted = json.loads(await lines.readline())
    counters = PortCounters()
    port = await MediaPort.open(host=None, port=0, certificate=Certificate.generate(), counters=counters)
    receivers = [Receiver() for _ in range(wanted["count"])]
    transports: list[Transport] = []
    for receiver in receivers:
        transport = port.create_transport(receiver)
        transport.start(
            remote_ufrag="cl1e",
            remote_pwd="client-password-of-24-ch",
            remote_fingerprints=[(one[0], one[1]) for one in wanted["fingerprints"]],
            dtls_role=wanted["role"],
        )
        transports.append(transport)
    credentials = [(one.local_ufrag, one.local_pwd) for one in transports]
    _say({"port": port.port, "fingerprint": port.fingerprint, "credentials": credentials})
    lag = Lag()
    measuring = loop.create_task(lag.run())
    while await lines.readline():
        _say(
            {
                # Asked for first: with it, what the kernel has dropped by now is counted.
                "overflows": port.receive_overflows,
                "lag_s": lag.longest_s,
                "states": [str(one.state) for one in transports],
                "received": [one.count for one in receivers],
                "dropped": {str(reason): count for reason, count in counters.dropped.items() if count},
            }
        )
        lag.longest_s = 0.0
    measuring.cancel()
    await port.close()


def _say(what: Any) -> None:
    print(json.dumps(what), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
