"""A real server archives what it finds, is killed in the middle, and goes on; its metrics tell."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from bridge_process import BridgeServer
from recordings import CO_TO, VIET_DUC, Recording

from bridge.archive.package.verify import verify
from bridge.base.words import PackageState
from bridge.store.catalogue import Catalogue

# Workers take what others leave of the machine, and it may be little.
pytestmark = pytest.mark.timeout(400)

SESSION = "HC-BV-20261125-01"


def record(recordings: Path, *, seconds: float) -> None:
    recordings.mkdir(parents=True, exist_ok=True)
    recording = Recording(recordings)
    recording.join(0.0, VIET_DUC)
    recording.add_case(0.2, "C01", "BN-0412", CO_TO)
    recording.start_case(0.5, "C01")
    recording.camera(VIET_DUC, 0.5, 0.5 + seconds)
    recording.finish_case(0.5 + seconds, "C01")
    recording.close(1.0 + seconds)
    recording.write()


def until(condition: Callable[[], object], what: str, *, within_s: float = 150.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {within_s:.0f} s: {what}"
        time.sleep(0.05)


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_server_killed_while_it_composes_completes_the_archive_when_it_is_back(tmp_path: Path) -> None:
    record(tmp_path / "recordings", seconds=20.0)
    catalogue = Catalogue(tmp_path / "archive")
    server = BridgeServer(tmp_path)
    server.start()
    until(lambda: catalogue.in_states(PackageState.COMPOSING), "the server composes")
    workers = psutil.Process(server.pid).children(recursive=True)
    assert workers
    server.kill()
    until(lambda: not any(is_alive(worker) for worker in workers), "no worker is left", within_s=20.0)
    server.start()
    sealed = {"state": "sealed"}
    until(lambda: server.metric("hoichan_archive_packages", **sealed) == 2, "both packages are sealed")
    assert server.metric("hoichan_archive_available") == 1
    assert server.metric("hoichan_archive_packages_sealed_total") >= 1
    assert server.metric("hoichan_archive_disk_free_bytes") > 0
    assert server.metric("hoichan_archive_backlog_seconds") == 0
    assert server.stop() == 0
    for package in (f"{SESSION}-C01", f"{SESSION}-S"):
        assert verify(tmp_path / "archive" / "packages" / package) == []
    catalogue.close()


def test_a_server_that_is_stopped_takes_its_workers_with_it(tmp_path: Path) -> None:
    record(tmp_path / "recordings", seconds=20.0)
    catalogue = Catalogue(tmp_path / "archive")
    server = BridgeServer(tmp_path)
    server.start()
    until(lambda: catalogue.in_states(PackageState.COMPOSING), "the server composes")
    workers = psutil.Process(server.pid).children(recursive=True)
    assert workers
    assert server.stop() == 0
    assert not any(is_alive(worker) for worker in workers)
    assert catalogue.in_states(PackageState.COMPOSING) == ()
    catalogue.close()


def test_conferences_go_on_without_an_archive(tmp_path: Path) -> None:
    (tmp_path / "archive").write_text("where a folder should be")
    server = BridgeServer(tmp_path)
    server.start()
    assert server.metric("hoichan_archive_available") == 0
    assert "the archive cannot work yet" in server.log
    assert server.stop() == 0
