"""The other store as a process of its own: moto's S3 server, which writes down what it is given."""

import ctypes
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError
from bridge_process import free_port
from judged import Put

BUCKET = "hoichan-archive"
START_TIMEOUT_S = 60.0
PR_SET_PDEATHSIG = 1
_PUT = re.compile(rf'\[(?P<at>[^]]+)\] "PUT /{BUCKET}/(?P<package>[^/]+)/')


class OtherStore:
    """A bucket for one archive; its log in the folder goes on over several processes."""

    def __init__(self, folder: Path) -> None:
        self._log = folder / "store.log"
        self._key = folder / "store.key"
        self._key.write_text("key\n", encoding="utf-8")
        self._url = ""
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> Mapping[str, str]:
        """What a bridge is told of it."""
        return {
            "HOICHAN_ARCHIVE_S3_ENDPOINT": self._url,
            "HOICHAN_ARCHIVE_S3_BUCKET": BUCKET,
            "HOICHAN_ARCHIVE_S3_ACCESS_KEY_FILE": str(self._key),
            "HOICHAN_ARCHIVE_S3_SECRET_KEY_FILE": str(self._key),
        }

    @property
    def puts(self) -> list[Put]:
        """Everything that it was ever given."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return [
            Put(found["package"], datetime.strptime(found["at"], "%d/%b/%Y %H:%M:%S").timestamp() * 1000)
            for line in lines
            if (found := _PUT.search(line))
        ]

    def start(self) -> None:
        port = free_port()
        self._url = f"http://127.0.0.1:{port}"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Whoever ends the test ends it.
                preexec_fn=lambda: ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL),
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self._resource().create_bucket(Bucket=BUCKET)
                return
            except BotoCoreError:
                assert self._process.poll() is None, self._log.read_text(encoding="utf-8")[-4000:]
                assert time.monotonic() < deadline, "the other store does not start"
                time.sleep(0.05)

    def empty(self) -> None:
        """Forget what it was given: it is all in memory."""
        self._resource().Bucket(BUCKET).objects.all().delete()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _resource(self) -> Any:
        return boto3.resource(
            "s3",
            endpoint_url=self._url,
            region_name="us-east-1",
            aws_access_key_id="key",
            aws_secret_access_key="key",
        )
