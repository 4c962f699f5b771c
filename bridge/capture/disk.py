"""How much room the disk of the recordings has, and what is left out when it runs short. Pure."""

from dataclasses import dataclass
from enum import IntEnum

from bridge.base.words import RecordProblem

MB = 1_000_000
# Room must come back by this much before what was left out is recorded again.
EASE = 1.05


class Value(IntEnum):
    """How much a track is worth, the least valuable first."""

    THUMBNAIL = 1
    CAMERA = 2
    STAGE = 3
    CONTENT = 4
    VOICE = 5


class DiskLevel(IntEnum):
    """How short the disk is; from SHED_THUMBNAILS on, tracks up to a value are left out."""

    ENOUGH = 0
    LOW = 1
    SHED_THUMBNAILS = 2
    SHED_CAMERAS = 3
    SHED_STAGE = 4
    SHED_CONTENT = 5
    FULL = 6

    def spares(self, value: Value) -> bool:
        """Whether tracks of that value are recorded."""
        return value > self - DiskLevel.LOW

    @property
    def problem(self) -> RecordProblem | None:
        """What people are told."""
        if self is DiskLevel.FULL:
            return RecordProblem.DISK_FULL
        if self >= DiskLevel.SHED_THUMBNAILS:
            return RecordProblem.DISK_SHEDDING
        return RecordProblem.DISK_LOW if self is DiskLevel.LOW else None


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Free megabytes below which people are warned, tracks are left out, and everything stops."""

    warn_mb: int
    shed_mb: int
    stop_mb: int

    def limits(self) -> tuple[float, ...]:
        """Return the bytes below which each level begins, ENOUGH left out."""
        step = (self.shed_mb - self.stop_mb) / 4
        shed = [self.shed_mb - step * place for place in range(4)]
        return tuple(limit * MB for limit in (self.warn_mb, *shed, self.stop_mb))


class DiskGuard:
    """Follows the free bytes, and does not go to and fro at a threshold."""

    __slots__ = ("_limits", "level")

    def __init__(self, thresholds: Thresholds) -> None:
        self._limits = thresholds.limits()
        self.level = DiskLevel.ENOUGH

    def measure(self, free_bytes: int) -> DiskLevel:
        """Take in how much is free; return the level."""
        at_least = DiskLevel(sum(free_bytes < limit for limit in self._limits))
        at_most = DiskLevel(sum(free_bytes < limit * EASE for limit in self._limits))
        self.level = min(max(self.level, at_least), at_most)
        return self.level
