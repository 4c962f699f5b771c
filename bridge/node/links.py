"""The links of a node: a line for each that was issued, and the ids of those that were revoked.

Two files in the state directory. The command line writes both; the server reads the second one again whenever
it has changed. An id opens nothing by itself: what is in a link is signed, and is written down nowhere.
"""

import json
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from bridge.base.errors import InvalidConfig
from bridge.tokens import JOIN_GRACE_S, Claims

logger = logging.getLogger(__name__)

ISSUED: Final = "links.jsonl"
REVOKED: Final = "revoked"
# Newest lines of a file that are heeded.
LINES_MAX: Final = 100_000


@dataclass(frozen=True, slots=True)
class IssuedLink:
    """One link, token of a device or key to the library; times are Unix seconds."""

    id: str
    kind: str
    room: str
    site: str
    role: str
    name: str | None
    issued_s: int
    expires_s: int


class LinkFiles:
    """What the command line writes down of links."""

    def __init__(self, state_dir: Path) -> None:
        self._state_dir = state_dir

    def issued(self, claims: Claims, now_s: float) -> None:
        """Note a link that was just made; raises InvalidConfig when that is not possible."""
        link = IssuedLink(
            id=claims.id,
            kind=claims.kind.value,
            room=claims.room,
            site=claims.site,
            role=claims.role.value,
            name=claims.name,
            issued_s=int(now_s),
            expires_s=claims.expires_at,
        )
        self._append(ISSUED, [json.dumps(asdict(link), ensure_ascii=False)], 0o600)

    def links(self) -> list[IssuedLink]:
        """Return all links that were issued, the oldest first; lines that are none are left out."""
        links = (_link(line) for line in self._lines(ISSUED))
        return [link for link in links if link is not None]

    def revoke(self, links: Iterable[IssuedLink]) -> None:
        """Make links worthless from now on; raises InvalidConfig when that cannot be written."""
        # Readable by a server that runs as another user than whoever revokes.
        self._append(REVOKED, [f"{link.id} {link.expires_s}" for link in links], 0o644)

    def revoked(self) -> set[str]:
        """Return the ids of all that was revoked."""
        return {line.split()[0] for line in self._lines(REVOKED) if line.strip()}

    def _lines(self, name: str) -> list[str]:
        path = self._state_dir / name
        try:
            return path.read_text(encoding="utf-8").splitlines()[-LINES_MAX:] if path.exists() else []
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidConfig(f"{path}: cannot be read: {error}") from error

    def _append(self, name: str, lines: list[str], mode: int) -> None:
        path = self._state_dir / name
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, mode)
            try:
                owner = self._state_dir.stat()
                if os.geteuid() == 0 and os.fstat(descriptor).st_uid != owner.st_uid:
                    # Written by root for a server that is not: it has to go on with the file.
                    os.fchown(descriptor, owner.st_uid, owner.st_gid)
                os.write(descriptor, "".join(f"{line}\n" for line in lines).encode())
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise InvalidConfig(f"{path}: {error.strerror}") from error


class Revocations:
    """The ids of revoked links, as the file says them now; one that cannot be read changes nothing."""

    def __init__(self, state_dir: Path, *, clock: Callable[[], float]) -> None:
        """`clock` gives Unix seconds."""
        self._path = state_dir / REVOKED
        self._clock = clock
        self._ids: frozenset[str] = frozenset()
        self._seen: tuple[int, int, int] | None = None
        self.poll()

    def __contains__(self, link: object) -> bool:
        return link in self._ids

    def poll(self) -> bool:
        """Read the file if it has changed; return whether any link was revoked since."""
        try:
            status = self._path.stat()
            seen = (status.st_mtime_ns, status.st_size, status.st_ino)
            if seen == self._seen:
                return False
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            # Nobody has revoked anything, or takes everything back.
            self._seen, self._ids = None, frozenset()
            return False
        except (OSError, UnicodeDecodeError) as error:
            logger.error("%s cannot be read, the links revoked before stay so: %s", self._path, error)
            return False
        ids = frozenset(filter(None, (self._id(line) for line in text.splitlines()[-LINES_MAX:])))
        has_news = not ids <= self._ids
        self._seen, self._ids = seen, ids
        return has_news

    def _id(self, line: str) -> str | None:
        """Return the id of a line, unless nothing made from that link can be good any more."""
        words = line.split()
        if not words or words[0].startswith("#"):
            return None
        expires_s = int(words[1]) if len(words) > 1 and words[1].isdecimal() else None
        is_over = expires_s is not None and expires_s + JOIN_GRACE_S < self._clock()
        return None if is_over else words[0]


def _link(line: str) -> IssuedLink | None:
    try:
        return IssuedLink(**json.loads(line))
    except (ValueError, TypeError):
        return None
