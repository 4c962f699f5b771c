"""A real server process on free ports with a state directory of its own."""

import os
import random
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.base.words import ConferenceKind, Level, Role
from bridge.node.host import token_secret
from bridge.tokens import TokenKind, Tokens

ROOT = Path(__file__).parents[1]
LINK_LIFETIME_S = 3600
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
# Below the range of ports that Linux gives to outgoing connections.
PORTS = (10_000, 32_000)
# Each worker of a run has ports of its own, and gives none twice.
WORKERS_MAX = 16
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_given: set[int] = set()


def free_port() -> int:
    """Return a port number that is free for both TCP and UDP on this machine, just now.

    Of those that no outgoing connection takes, and at random: another test run looks for one as well.
    """
    while True:
        port = random.SystemRandom().randrange(PORTS[0] + WORKER, PORTS[1], WORKERS_MAX)
        if port in _given:
            continue
        with (
            socket.socket(socket.AF_INET, socket.SOCK_STREAM) as stream,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram,
        ):
            try:
                stream.bind(("127.0.0.1", port))
                datagram.bind(("127.0.0.1", port))
            except OSError:
                continue
            _given.add(port)
            return port


@dataclass
class BridgeServer:
    """A `hoichan serve` process; stops and starts on the same ports with the same state."""

    state_dir: Path
    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    # How many files and sockets the process may have open; as many as this one unless given.
    descriptors: int | None = None
    # Where HTTP is served; the media port takes every address that there is.
    host: str = "127.0.0.1"
    http_port: int = field(default_factory=free_port)
    media_port: int = field(default_factory=free_port)
    admin_port: int = field(default_factory=free_port)
    process: "subprocess.Popen[bytes] | None" = None

    @property
    def base_url(self) -> str:
        return f"http://{self._url_host}:{self.http_port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{self._url_host}:{self.http_port}/ws"

    @property
    def admin_url(self) -> str:
        return f"http://{self._url_host}:{self.admin_port}"

    @property
    def _url_host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    @property
    def log_path(self) -> Path:
        return self.state_dir / "server.log"

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start the process and wait until it is ready."""
        self.launch()
        self.wait_until_ready()

    def variables(self) -> dict[str, str]:
        """Return the environment of the process."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith("HOICHAN_")},
            "HOICHAN_NODE_STATE_DIR": str(self.state_dir),
            "HOICHAN_NODE_DRAIN_S": "0",
            # The browsers and peers of a test leave an idle process nothing.
            "HOICHAN_ARCHIVE_GIVES_WAY": "false",
            "HOICHAN_HTTP_HOST": self.host,
            "HOICHAN_HTTP_PORT": str(self.http_port),
            "HOICHAN_MEDIA_PORT": str(self.media_port),
            "HOICHAN_ADMIN_HOST": self.host,
            "HOICHAN_ADMIN_PORT": str(self.admin_port),
            **self.environment,
        }

    def launch(self) -> None:
        """Start the process."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "bridge", "serve", "--http", *self.arguments],
                cwd=ROOT,
                env=self.variables(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=self._limit if self.descriptors else None,
            )

    def _limit(self) -> None:
        assert self.descriptors is not None
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.descriptors, self.descriptors))

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """End the process and return its exit status (negative: the signal that killed it)."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(signal_number)
        try:
            return process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            pytest.fail(f"the server did not end within {STOP_TIMEOUT_S:.0f} s:\n{self.log[-4000:]}")

    def kill(self) -> None:
        """End the process as a power failure would."""
        self.stop(signal.SIGKILL)

    def invite(
        self,
        role: str = "presenter",
        site: str = "Bệnh viện A",
        *,
        room: str = "hoi-chan",
        title: str = "Hội chẩn thử",
        level: str = "district",
        name: str = "",
        kind: str = ConferenceKind.CONSULTATION,
    ) -> str:
        """Return an invitation token, signed with the server's own secret."""
        return self._tokens.invitation(
            room=room,
            title=title,
            site=site,
            level=Level(level),
            role=Role(role),
            name=name or None,
            lifetime_s=LINK_LIFETIME_S,
            conference_kind=ConferenceKind(kind),
        )

    def link(self, role: str = "presenter", site: str = "Bệnh viện A", **claims: str) -> str:
        """Return a link that a browser can open."""
        return f"{self.base_url}/room/#i={self.invite(role, site, **claims)}"

    def bearer(self, kind: str, site: str = "Phòng mổ", *, room: str = "hoi-chan") -> str:
        """Return a WHIP (`publish`) or WHEP (`watch`) bearer token."""
        return self._tokens.device(
            TokenKind(kind),
            room=room,
            title="Hội chẩn thử",
            site=site,
            level=Level.CENTRAL,
            role=Role.PRESENTER if kind == "publish" else Role.OBSERVER,
            lifetime_s=LINK_LIFETIME_S,
        )

    def metrics(self) -> str:
        with urlopen(f"{self.admin_url}/metrics", timeout=30) as response:
            text: str = response.read().decode()
        return text

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of one metric that carry these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.metrics())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def _tokens(self) -> Tokens:
        return Tokens(token_secret(self.state_dir))

    def wait_until_ready(self) -> None:
        """Wait until it takes people in."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode}:\n{self.log[-4000:]}")
            try:
                with urlopen(f"{self.admin_url}/readyz", timeout=2):
                    return
            except HTTPError as error:
                error.close()
            except (URLError, OSError):
                pass
            time.sleep(0.05)
        self.kill()
        pytest.fail(f"the server was not ready within {START_TIMEOUT_S:.0f} s:\n{self.log[-4000:]}")


StartBridge = Callable[..., BridgeServer]
