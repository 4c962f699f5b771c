"""Proves or disproves a package, on any machine and by its own files alone.

A changed byte in any file shows: payload and tag files by the manifests, the tag manifest by the seal, the
seal by its own hash and form, the time stamp by its checksum and signature. What the documents say of each
other is compared as well, so that a package that was wrong from the beginning does not pass. Files are read
once, in pieces.
"""

import hashlib
import json
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bridge.archive.model import Progress, Report, Stage
from bridge.archive.package import bag, timestamps
from bridge.archive.package.seal import SEAL_FILE, SEAL_MAX_BYTES, Seal, parse_seal
from bridge.messages.texts import Text
from bridge.store.journal import LINE_MAX_BYTES, Event, parse_event

_JSON_MAX_BYTES: Final = 16 * 1024 * 1024
_HEX_DIGITS: Final = {"sha256": 64, "sha512": 128}

# By code; {file} is the file's name in the package, {detail} what is wrong in it.
SENTENCES: Final[Mapping[str, Text]] = {
    "not-a-package": Text(
        vi="Đây không phải là gói lưu trữ: {detail}.", en="This is not a package: {detail}."
    ),
    "file-missing": Text(vi="Thiếu tệp {file}.", en="The file {file} is missing."),
    "file-unexpected": Text(vi="Tệp {file} không thuộc gói.", en="The file {file} does not belong here."),
    "file-unusual": Text(
        vi="{file} không phải là tệp thông thường (liên kết hoặc thiết bị).",
        en="{file} is not an ordinary file (a link or a device).",
    ),
    "file-unreadable": Text(vi="Không đọc được tệp {file}: {detail}.", en="{file} cannot be read: {detail}."),
    "file-changed": Text(
        vi="Tệp {file} đã bị thay đổi: mã {detail} không khớp.",
        en="The file {file} has been changed: its {detail} does not match.",
    ),
    "manifest-broken": Text(
        vi="Danh mục {file} bị hỏng: {detail}.", en="The manifest {file} is broken: {detail}."
    ),
    "manifest-incomplete": Text(
        vi="Tệp {file} không có trong {detail}.", en="The file {file} is not listed in {detail}."
    ),
    "seal-broken": Text(vi="Niêm phong {file} bị hỏng: {detail}.", en="The seal {file} is broken: {detail}."),
    "seal-mismatch": Text(
        vi="Niêm phong không khớp với {file}: tệp này đã bị thay đổi.",
        en="The seal does not fit {file}: that file has been changed.",
    ),
    "timestamp-broken": Text(
        vi="Dấu thời gian {file} không hợp lệ: {detail}.", en="The time stamp {file} is not valid: {detail}."
    ),
    "video-unplayable": Text(
        vi="Không phát được {file} đến hết: {detail}.", en="{file} does not play to its end: {detail}."
    ),
    "document-broken": Text(vi="Tệp {file} không hợp lệ: {detail}.", en="{file} is not valid: {detail}."),
    "journal-broken": Text(
        vi="Nhật ký {file} bị hỏng ở dòng {detail}.", en="The journal {file} is broken at line {detail}."
    ),
    "chain-broken": Text(
        vi="Chuỗi niêm phong đứt ở gói {file}: {detail}.",
        en="The chain of seals is broken at the package {file}: {detail}.",
    ),
}


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a package; `file` is relative to it."""

    code: str
    file: str
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What is wrong, in English."""
        return SENTENCES[self.code].en.format(file=self.file, detail=self.detail)

    @property
    def sentence_vi(self) -> str:
        """What is wrong, in Vietnamese."""
        return SENTENCES[self.code].vi.format(file=self.file, detail=self.detail)


def verify(path: Path, *, report: Report | None = None) -> list[Problem]:
    """Return everything that is wrong with a package; empty when it is proven."""
    if not path.is_dir():
        return [Problem("not-a-package", path.name, "there is no such folder")]
    if not (path / bag.BAGIT_FILE).is_file() and not (path / SEAL_FILE).is_file():
        return [Problem("not-a-package", path.name, f"it has neither {bag.BAGIT_FILE} nor {SEAL_FILE}")]
    return _Verification(path, report).problems


def sealed_sums(package: Path) -> dict[str, str]:
    """Return the SHA-256 by name of what a seal covers; raises OSError or ValueError where it is broken.

    For who acts on some of the files and cannot wait until all of them are read.
    """
    seal = parse_seal(_read(package / SEAL_FILE, SEAL_MAX_BYTES))
    sums = {bag.TAG_MANIFEST: seal.tagmanifest_sha256}
    for manifest in (bag.TAG_MANIFEST, bag.MANIFESTS["sha256"]):
        content = _read(package / manifest, bag.MANIFEST_MAX_BYTES)
        if hashlib.sha256(content).hexdigest() != sums.get(manifest):
            raise ValueError(f"{manifest} is not what was sealed")
        sums |= bag.parse_manifest(content, _HEX_DIGITS["sha256"])
    return sums


def verify_chain(
    packages: Sequence[Path], *, deleted: Mapping[str, str | None] | None = None
) -> list[Problem]:
    """Return where the seals of an archive do not follow one another.

    `deleted` holds what the certificates of deleted packages say: their seals, and those before them.
    """
    problems: list[Problem] = []
    seals: list[Seal] = []
    for path in packages:
        try:
            seals.append(parse_seal(_read(path / SEAL_FILE, SEAL_MAX_BYTES)))
        except (OSError, ValueError) as error:
            problems.append(Problem("chain-broken", path.name, f"its seal is not readable: {error}"))
    return problems + list(_chain_problems(sorted(seals, key=lambda seal: seal.sealed_at), deleted or {}))


def _chain_problems(seals: Sequence[Seal], deleted: Mapping[str, str | None]) -> Iterator[Problem]:
    by_seal = {seal.seal: seal for seal in seals}
    followers: dict[str | None, str] = dict.fromkeys(deleted.values(), "a deleted package")
    for seal in seals:
        previous = seal.previous_seal
        if previous in followers:
            detail = f"it follows the same seal as {followers[previous]}"
            yield Problem("chain-broken", seal.package, detail)
        followers[previous] = seal.package
        if previous is None or previous in deleted:
            continue
        # The hash alone tells the order: a clock that was set back between two seals breaks nothing.
        if previous not in by_seal:
            yield Problem("chain-broken", seal.package, f"the package with the seal {previous} is missing")


class _Verification:
    """One verification: goes through the package and collects what is wrong."""

    def __init__(self, folder: Path, report: Report | None) -> None:
        self._folder = folder
        self._report = report
        self._total_bytes = 1
        self._done_bytes = 0
        self.problems: list[Problem] = []
        self._digests: dict[str, bag.Digest] = {}
        seal = self._seal()
        tags = self._tag_manifest(seal)
        sums = self._manifests()
        self._files(tags, sums)
        self._info(seal)
        self._timestamp()
        self._documents(seal)

    def _problem(self, code: str, file: str, detail: object = "") -> None:
        self.problems.append(Problem(code, _printable(file), _printable(str(detail))))

    def _content(self, name: str, most_bytes: int) -> bytes | None:
        """Return a small file's content; None, and a problem noted, if there is none."""
        path = self._folder / name
        if not path.is_file() or path.is_symlink():
            self._problem("file-missing", name)
            return None
        try:
            return _read(path, most_bytes)
        except (OSError, ValueError) as error:
            self._problem("file-unreadable", name, error)
            return None

    def _seal(self) -> Seal | None:
        content = self._content(SEAL_FILE, SEAL_MAX_BYTES)
        if content is None:
            return None
        try:
            return parse_seal(content)
        except ValueError as error:
            self._problem("seal-broken", SEAL_FILE, error)
            return None

    def _tag_manifest(self, seal: Seal | None) -> dict[str, str]:
        content = self._content(bag.TAG_MANIFEST, bag.MANIFEST_MAX_BYTES)
        if content is None:
            return {}
        if seal is not None and hashlib.sha256(content).hexdigest() != seal.tagmanifest_sha256:
            self._problem("seal-mismatch", bag.TAG_MANIFEST)
        tags = self._parsed(bag.TAG_MANIFEST, content, "sha256")
        for name in (bag.BAGIT_FILE, bag.INFO_FILE, *bag.MANIFESTS.values()):
            if name not in tags:
                self._problem("manifest-incomplete", name, bag.TAG_MANIFEST)
        return tags

    def _manifests(self) -> dict[str, dict[str, str]]:
        """Return the sums of the payload by algorithm and file name."""
        sums = {}
        for algorithm, name in bag.MANIFESTS.items():
            content = self._content(name, bag.MANIFEST_MAX_BYTES)
            sums[algorithm] = {} if content is None else self._parsed(name, content, algorithm)
        return sums

    def _parsed(self, name: str, content: bytes, algorithm: str) -> dict[str, str]:
        try:
            sums = bag.parse_manifest(content, _HEX_DIGITS[algorithm])
        except ValueError as error:
            self._problem("manifest-broken", name, error)
            return {}
        is_of_payload = name != bag.TAG_MANIFEST
        strangers = {file for file in sums if file.startswith(f"{bag.PAYLOAD}/") != is_of_payload}
        if strangers:
            self._problem("manifest-broken", name, f"{min(strangers)} belongs into another one")
        return {file: value for file, value in sums.items() if file not in strangers}

    def _files(self, tags: Mapping[str, str], sums: Mapping[str, Mapping[str, str]]) -> None:
        """Compare what is there with what is listed."""
        present = set(_names(self._folder))
        self._total_bytes = sum(_size_bytes(self._folder / name) for name in present) or 1
        unlisted = {SEAL_FILE, bag.TAG_MANIFEST, timestamps.STAMP_FILE, timestamps.STAMP_SUM_FILE}
        payload = set().union(*sums.values())
        listed = payload | set(tags)
        # Never opened: a link leads out of the package, and reading a pipe ends when its writer likes.
        unusual = {name for name in present if not _is_ordinary(self._folder / name)}
        for name in sorted(unusual):
            self._problem("file-unusual", name)
        for name in sorted(present - unusual - listed - unlisted):
            self._problem("file-unexpected", name)
        for name in sorted(listed - present):
            self._problem("file-missing", name)
        for name in sorted((present & listed) - unusual):
            self._compare(name, tags, sums)

    def _compare(self, name: str, tags: Mapping[str, str], sums: Mapping[str, Mapping[str, str]]) -> None:
        try:
            found = bag.digest(self._folder / name, self._advance)
        except OSError as error:
            self._problem("file-unreadable", name, error.strerror)
            return
        self._digests[name] = found
        if name in tags:
            if tags[name] != found.sha256:
                self._problem("file-changed", name, "SHA-256")
            return
        for algorithm, label, value in (
            ("sha256", "SHA-256", found.sha256),
            ("sha512", "SHA-512", found.sha512),
        ):
            if name not in sums[algorithm]:
                self._problem("manifest-incomplete", name, bag.MANIFESTS[algorithm])
            elif sums[algorithm][name] != value:
                self._problem("file-changed", name, label)

    def _advance(self, count: int) -> None:
        self._done_bytes += count
        if self._report is not None:
            self._report(Progress(Stage.SEAL, min(self._done_bytes / self._total_bytes, 1.0)))

    def _info(self, seal: Seal | None) -> None:
        """Check that the bag is the one that the seal names, and its size."""
        content = self._content(bag.INFO_FILE, _JSON_MAX_BYTES)
        if content is None:
            return
        try:
            fields = bag.parse_info(content)
        except ValueError as error:
            self._problem("document-broken", bag.INFO_FILE, error)
            return
        payload = [item.bytes for name, item in self._digests.items() if name.startswith(f"{bag.PAYLOAD}/")]
        if fields.get("Payload-Oxum") != f"{sum(payload)}.{len(payload)}":
            self._problem("document-broken", bag.INFO_FILE, "the payload has another size")
        if seal is not None and fields.get("External-Identifier") != seal.package:
            self._problem("document-broken", bag.INFO_FILE, "the seal is that of another package")

    def _timestamp(self) -> None:
        """Check the time stamp, if there is one; its checksum alone is left by a crash before the stamp."""
        names = (timestamps.STAMP_FILE, timestamps.STAMP_SUM_FILE)
        if not (self._folder / timestamps.STAMP_FILE).exists():
            return
        stamp, sum_line = (self._content(name, timestamps.STAMP_MAX_BYTES) for name in names)
        manifest = self._folder / bag.TAG_MANIFEST
        if stamp is None or sum_line is None or not manifest.is_file():
            return
        if sum_line != timestamps.sum_line(stamp):
            self._problem("timestamp-broken", timestamps.STAMP_FILE, "its checksum does not match")
        try:
            timestamps.check(stamp, _read(manifest, bag.MANIFEST_MAX_BYTES))
        except (OSError, ValueError) as error:
            self._problem("timestamp-broken", timestamps.STAMP_FILE, error)

    def _documents(self, seal: Seal | None) -> None:
        """Check what the documents of the payload say of it."""
        names = [name for name in ("data/case.json", "data/session.json") if (self._folder / name).exists()]
        if len(names) != 1:
            self._problem("document-broken", bag.PAYLOAD, "there must be one of case.json and session.json")
        for name in names:
            case = self._json(name, dict)
            if case is not None and seal is not None and case.get("package") != seal.package:
                self._problem("document-broken", name, "it is about another package")
        for folder in ("data/video", "data/content"):
            videos = [
                name for name in self._digests if name.startswith(f"{folder}/") and name.endswith(".mp4")
            ]
            if videos or (self._folder / folder / "parts.json").exists():
                self._parts(folder)
        self._journal("data/journal.jsonl")

    def _parts(self, folder: str) -> None:
        name = f"{folder}/parts.json"
        parts = self._json(name, list)
        if parts is None:
            return
        listed = {}
        for part in parts:
            if isinstance(part, dict):
                listed[f"{folder}/{part.get('file')}"] = part
        for file, digest in self._digests.items():
            if not file.startswith(f"{folder}/") or not file.endswith(".mp4"):
                continue
            part = listed.pop(file, {})
            if (part.get("sha256"), part.get("bytes")) != (digest.sha256, digest.bytes):
                self._problem("document-broken", name, f"{file} is not the part that it describes")
        for file in sorted(listed):
            self._problem("document-broken", name, f"{file} is not there")

    def _journal(self, name: str) -> None:
        """Check each line by its own hash, and neighbours by their chain."""
        path = self._folder / name
        if not path.is_file():
            self._problem("file-missing", name)
            return
        last = None
        try:
            for number, line in enumerate(_journal_lines(path), 1):
                event = parse_event(line)
                if event is None or (last is not None and not _may_follow(last, event)):
                    self._problem("journal-broken", name, number)
                    return
                last = event
        except OSError as error:
            self._problem("file-unreadable", name, error.strerror)

    def _json(self, name: str, kind: type[Any]) -> Any:
        content = self._content(name, _JSON_MAX_BYTES)
        if content is None:
            return None
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            self._problem("document-broken", name, "it is not JSON")
            return None
        if not isinstance(value, kind):
            self._problem("document-broken", name, "it does not have the form of such a document")
            return None
        return value


def _may_follow(last: Event, event: Event) -> bool:
    """Tell whether an event of an extract can come after another one."""
    return event.seq > last.seq and (event.seq > last.seq + 1 or event.prev == last.hash)


def _names(folder: Path) -> Iterator[str]:
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_dir():
            yield path.relative_to(folder).as_posix()


def _is_ordinary(path: Path) -> bool:
    """Tell whether there is a file of bytes under this very name."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _size_bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _printable(text: str) -> str:
    """Return text that no terminal takes for a command; names may hold any bytes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def _journal_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while line := file.readline(LINE_MAX_BYTES + 1):
            yield line


def _read(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise ValueError(f"it has more than {most_bytes} bytes")
    return content
