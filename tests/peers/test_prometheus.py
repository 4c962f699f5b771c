"""Debian's Prometheus over a running conference: scraping, rules, and every query of the dashboard."""

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from bridge_process import ROOT, BridgeServer, StartBridge, free_port

pytestmark = [pytest.mark.peer, pytest.mark.timeout(240)]

CONFIGS = ROOT / "configs"
CONFERENCE_S = 20.0
# What Grafana puts in place of $__rate_interval; long enough to hold the joins as well.
RATE_INTERVAL = "60s"


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["promtool", *arguments], cwd=CONFIGS, capture_output=True, text=True, timeout=30, check=False
    )


def dashboard_queries() -> list[tuple[str, str]]:
    """Panel title and expression, as Grafana would send it for all bridges."""
    dashboard = json.loads((CONFIGS / "grafana" / "bridge.json").read_text(encoding="utf-8"))
    return [
        (panel["title"], _without_variables(target["expr"]))
        for panel in panels(dashboard)
        for target in panel.get("targets", [])
    ]


def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """Return all panels, those in collapsed rows as well."""
    return [inner for panel in dashboard["panels"] for inner in (panel, *panel.get("panels", []))]


def _without_variables(expression: str) -> str:
    return expression.replace("$instance", ".*").replace("$__rate_interval", RATE_INTERVAL)


def metric_names(text: str) -> set[str]:
    return set(re.findall(r"\b(?:hoichan|process)_[a-z0-9_]+", text))


class Prometheus:
    """A Prometheus process under the shipped settings, but for the ports and the pace."""

    def __init__(self, directory: Path, server: BridgeServer) -> None:
        settings = (CONFIGS / "prometheus.yml").read_text(encoding="utf-8")
        assert "127.0.0.1:9465" in settings
        settings = settings.replace("127.0.0.1:9465", f"127.0.0.1:{server.admin_port}").replace("15s", "1s")
        (directory / "prometheus.yml").write_text(settings, encoding="utf-8")
        (directory / "alerts.yml").write_bytes((CONFIGS / "alerts.yml").read_bytes())
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        self.log_path = directory / "prometheus.log"
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={directory / 'prometheus.yml'}",
                    f"--storage.tsdb.path={directory / 'data'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"{self._url}/api/v1/{path}?{urlencode(parameters)}", timeout=10) as response:
            return json.load(response)["data"]

    def values(self, expression: str) -> list[float]:
        """Return what an instant query yields, without what is not a number."""
        found = [float(series["value"][1]) for series in self.get("query", query=expression)["result"]]
        return [value for value in found if not math.isnan(value)]

    def wait_until(self, condition: Callable[[], bool], what: str, *, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log_path.read_text(encoding="utf-8")
            try:
                if condition():
                    return
            except (URLError, OSError):
                # Not listening yet.
                pass
            time.sleep(0.2)
        pytest.fail(f"not within {within_s:.0f} s: {what}")

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(20)


@pytest.fixture
def server(start_bridge: StartBridge) -> BridgeServer:
    return start_bridge()


@pytest.fixture
def prometheus(tmp_path: Path, server: BridgeServer) -> Iterator[Prometheus]:
    directory = tmp_path / "prometheus"
    directory.mkdir()
    running = Prometheus(directory, server)
    yield running
    running.stop()


@pytest.fixture
def conference(server: BridgeServer) -> Iterator["subprocess.Popen[bytes]"]:
    """Three points with cameras and microphones: the light bots of the benchmarks."""
    plan = {
        "url": server.base_url,
        "invitations": [
            server.invite("chair" if number == 0 else "expert", f"Bệnh viện {number}") for number in range(3)
        ],
        "publishers": 3,
        "thumbnails": 2,
        "is_simulcast": False,
        "seconds": CONFERENCE_S,
        "settle_s": 1.0,
        "joins_per_s": 5.0,
        "server_pid": server.pid,
        "media_port": server.media_port,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.bots", "--core", "0", "-"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(plan).encode())
    process.stdin.close()
    yield process
    process.terminate()
    process.wait(20)


def test_promtool_accepts_the_shipped_settings_and_rules() -> None:
    for arguments in (("check", "rules", "alerts.yml"), ("check", "config", "prometheus.yml")):
        done = promtool(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_nothing_to_criticise_in_the_metrics(server: BridgeServer) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"],
        input=server.metrics(),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    complaints = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("hoichan_")]
    assert complaints == []


def test_a_running_conference_is_scraped_and_every_panel_has_data(
    server: BridgeServer, prometheus: Prometheus, request: pytest.FixtureRequest
) -> None:
    prometheus.wait_until(lambda: prometheus.values('up{job="hoichan"}') == [1.0], "the bridge is scraped")
    request.getfixturevalue("conference")
    prometheus.wait_until(lambda: prometheus.values("sum(hoichan_points)") == [3.0], "three points")
    forwarded = "rate(hoichan_rtp_packets_forwarded_total[5s])"
    prometheus.wait_until(lambda: max(prometheus.values(forwarded), default=0.0) > 50, "packets forwarded")
    prometheus.wait_until(lambda: prometheus.values("hoichan_rtt_seconds") != [], "round trips measured")
    time.sleep(2)

    without_data = [
        f"{title}: {query}" for title, query in dashboard_queries() if not prometheus.values(query)
    ]
    assert without_data == []

    known = set(prometheus.get("label/__name__/values"))
    assert metric_names((CONFIGS / "alerts.yml").read_text(encoding="utf-8")) <= known
    rules = [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]
    assert rules
    assert [rule["name"] for rule in rules if rule["health"] != "ok"] == []
    assert prometheus.values("hoichan_legs{protocol='udp'}") == [3.0]


def test_the_dashboard_shows_what_an_operator_looks_for() -> None:
    asked = metric_names(" ".join(query for _, query in dashboard_queries()))
    assert asked >= {
        "hoichan_points",
        "hoichan_rtp_packets_forwarded_total",
        "hoichan_loss_ratio",
        "hoichan_rtt_seconds",
        "hoichan_forwarding_latency_seconds_bucket",
        "hoichan_joins_refused_total",
        "hoichan_join_latency_seconds_bucket",
        "hoichan_event_loop_lag_seconds_bucket",
        "process_cpu_seconds_total",
    }


def test_the_first_row_of_the_dashboard_says_whether_recording_is_all_right() -> None:
    dashboard = json.loads((CONFIGS / "grafana" / "bridge.json").read_text(encoding="utf-8"))
    first = [panel for panel in dashboard["panels"] if panel["gridPos"]["y"] == 0]
    asked = metric_names(" ".join(target["expr"] for panel in first for target in panel["targets"]))
    assert asked == {
        "hoichan_recording_problems",
        "hoichan_recordings_failed_total",
        "hoichan_recording_disk_free_bytes",
        "hoichan_recording_disk_threshold_bytes",
        "hoichan_archive_available",
        "hoichan_archive_packages_damaged",
    }
    assert all(len(panel["fieldConfig"]["defaults"]["thresholds"]["steps"]) > 1 for panel in first)
    assert {panel["type"] for panel in dashboard["panels"]} == {"stat", "row", "timeseries", "alertlist"}
    assert {annotation["name"] for annotation in dashboard["annotations"]["list"]} == {"Restarts", "Alerts"}
    ids = [panel["id"] for panel in panels(dashboard)]
    assert len(ids) == len(set(ids))
    assert all(panel.get("description") for panel in panels(dashboard) if panel["type"] != "row")


def test_every_alert_leads_to_what_to_do_first() -> None:
    rules = (CONFIGS / "alerts.yml").read_text(encoding="utf-8")
    names = re.findall(r"- alert: (\w+)", rules)
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = operations.partition("### On an alert")[2].partition("\n## ")[0]
    assert [name for name in names if name not in table] == []
    links = re.findall(r'runbook_url: "https://[^"]*/docs/operations.md#on-an-alert"', rules)
    assert len(links) == len(names)


def test_a_bridge_that_is_gone_raises_the_alarm(server: BridgeServer, prometheus: Prometheus) -> None:
    prometheus.wait_until(lambda: prometheus.values('up{job="hoichan"}') == [1.0], "the bridge is scraped")
    server.kill()

    def is_pending() -> bool:
        return any(
            alert["labels"]["alertname"] == "BridgeDown" for alert in prometheus.get("alerts")["alerts"]
        )

    prometheus.wait_until(is_pending, "BridgeDown is pending")
