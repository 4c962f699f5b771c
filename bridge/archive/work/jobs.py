"""What a worker process is told to do, and what it says: JSON lines over its standard input and output.

The first line in is the job. Lines out are progress, and at last either a result or a failure:

    {"stage": "compose", "done": 0.25, "remaining_s": 90.0}
    {"result": {"seal": "...", "bytes": 1000}}
    {"failed": {"code": "disk-full", "sentence": "...", "is_lasting": false}}
"""

import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, TypeAlias

from bridge.archive.folders import ArchiveFolders
from bridge.archive.model import Progress, Stage
from bridge.base.errors import ArchiveFailed
from bridge.config import ArchiveConfig, DicomConfig

LINE_MAX_BYTES: Final = 64 * 1024
SENTENCE_MAX: Final = 500

# What a worker has done; it depends on the task.
Result: TypeAlias = dict[str, Any]


class Task(StrEnum):
    """What a worker can be asked for."""

    INTAKE = "intake"
    ARCHIVE = "archive"
    DELIVER = "deliver"
    STORE = "store"
    CHECK = "check"
    # As a check, and every part of its videos decoded: what is to stand alone must be worth it.
    PROVE = "prove"
    # Which names of packages the other store has that begin like the given one.
    NAMES = "names"


@dataclass(frozen=True, slots=True)
class Job:
    """One task. Intake is about the given session folder, or all that are new; the others about a package.

    A package is made from the folder in the recordings that has its session's name, unless one is given.
    """

    task: Task
    folders: ArchiveFolders
    archive: ArchiveConfig
    dicom: DicomConfig
    package: str = ""
    session: Path | None = None

    def line(self) -> bytes:
        """Return the job as the worker reads it."""
        value = {
            "task": self.task.value,
            "package": self.package,
            "recordings": str(self.folders.recordings),
            "archive_dir": str(self.folders.archive),
            "archive": asdict(self.archive),
            "dicom": asdict(self.dicom),
            "session": None if self.session is None else str(self.session),
        }
        return json.dumps(value).encode() + b"\n"


def parse_job(line: bytes) -> Job:
    """Return the job of a line; raises ValueError, KeyError or TypeError for anything else."""
    value = json.loads(line)
    return Job(
        task=Task(value["task"]),
        package=str(value["package"]),
        folders=ArchiveFolders(Path(value["recordings"]), Path(value["archive_dir"])),
        archive=ArchiveConfig(**value["archive"]),
        dicom=DicomConfig(**value["dicom"]),
        session=None if value["session"] is None else Path(value["session"]),
    )


def progress_line(progress: Progress) -> bytes:
    """Return how far a step is, as a line."""
    return _line(
        {"stage": progress.stage.value, "done": round(progress.done, 4), "remaining_s": progress.remaining_s}
    )


def result_line(values: Result) -> bytes:
    """Return what a worker has done, as a line."""
    return _line({"result": values})


def failure_line(error: ArchiveFailed) -> bytes:
    """Return why a worker could not do it, as a line."""
    failed = {"code": error.code, "sentence": error.sentence[:SENTENCE_MAX], "is_lasting": error.is_lasting}
    return _line({"failed": failed})


def parse_line(line: bytes) -> Progress | ArchiveFailed | Result:
    """Return what a worker says; raises ValueError, KeyError or TypeError for anything else."""
    value = json.loads(line)
    if "result" in value:
        return dict(value["result"])
    if "failed" in value:
        failed = value["failed"]
        return ArchiveFailed(
            str(failed["code"]), str(failed["sentence"]), is_lasting=bool(failed["is_lasting"])
        )
    remaining_s = value["remaining_s"]
    return Progress(
        Stage(value["stage"]), float(value["done"]), None if remaining_s is None else float(remaining_s)
    )


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
