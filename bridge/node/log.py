"""How the log is written: one line for each event, with a time that no clock change makes ambiguous."""

import logging
from datetime import datetime


class LineFormatter(logging.Formatter):
    """Writes times as ISO 8601 with their offset, so that they compare with those of other machines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s: %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def write_log(level: str) -> None:
    """Write to the errors of the process from now on."""
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler])
