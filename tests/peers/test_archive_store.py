"""The archive's supervisor and an S3-compatible store: moto's server over real HTTP, down at first."""

import asyncio
from pathlib import Path

import boto3
import pytest
from bridge_process import free_port
from recordings import VIET_DUC, Recording

from bridge.archive.folders import ArchiveFolders
from bridge.archive.keeping.stores import S3Store
from bridge.archive.work import supervisor as at_work
from bridge.archive.work.attempts import Archive
from bridge.archive.work.supervisor import ArchiveSupervisor
from bridge.base.counters import ArchiveCounters
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.catalogue import Catalogue

# Workers take what others leave of the machine, and it may be little.
pytestmark = [pytest.mark.peer, pytest.mark.timeout(400)]

# Not that of other tests: the servers of one test run share what they keep.
BUCKET = "hoichan-supervised"
PACKAGE = "HC-BV-20261125-01-S"


async def test_a_store_that_is_down_gets_its_packages_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_module = pytest.importorskip("moto.server", reason="needs moto's server")
    monkeypatch.setattr(at_work, "AFTER_FAILURE_S", 0.5)
    monkeypatch.setattr(at_work, "CARE_INTERVAL_S", 1.0)
    monkeypatch.setattr(at_work, "STATUS_INTERVAL_S", 0.1)
    port = free_port()
    for name in ("access", "secret"):
        (tmp_path / name).write_text(f"{name}-key\n", encoding="utf-8")
    settings = ArchiveConfig(
        s3_endpoint=f"http://127.0.0.1:{port}",
        s3_bucket=BUCKET,
        s3_access_key_file=str(tmp_path / "access"),
        s3_secret_key_file=str(tmp_path / "secret"),
        keep_tracks_days=0,
    )
    recording = Recording(tmp_path / "recordings")
    recording.join(0.0, VIET_DUC)
    recording.state(0.1, "recording")
    recording.camera(VIET_DUC, 0.1, 1.0)
    recording.close(1.0)
    tracks = recording.write().tracks
    folders = ArchiveFolders(tmp_path / "recordings", tmp_path / "archive")
    archive = Archive(folders, settings, DicomConfig(), Catalogue(folders.archive), ArchiveCounters())
    supervisor = ArchiveSupervisor(archive)

    async def until(condition: object, what: str) -> None:
        assert callable(condition)
        for _ in range(3000):
            if condition():
                return
            await asyncio.sleep(0.05)
        pytest.fail(f"not in time: {what}")

    def stored_ms() -> int | None:
        entry = archive.catalogue.package(PACKAGE)
        return None if entry is None else entry.stored_ms

    supervisor.start()
    await until(lambda: supervisor.status.store_waiting_s > 0, "the package waits for the store")
    assert stored_ms() is None
    server = server_module.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name="us-east-1",
        aws_access_key_id="key",
        aws_secret_access_key="secret",
    )
    client.create_bucket(Bucket=BUCKET)
    await until(stored_ms, "the package is stored")
    await until(lambda: not tracks.exists(), "its tracks have served")
    store = S3Store(settings)
    assert await asyncio.to_thread(store.packages) == [PACKAGE]
    assert supervisor.status.is_available
    await supervisor.stop()
    archive.catalogue.close()
    store.close()
    client.close()
    server.stop()
    assert archive.counters.packages_sealed == 1
