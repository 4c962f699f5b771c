"""Decisions about packages outlive damage: of none it is believed that something may go out."""

import errno
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from bridge.base.errors import ArchiveFailed
from bridge.store.checked_lines import checked_line
from bridge.store.decisions import Decisions
from bridge.store.journal import canonical

FIRST, SECOND = "HC-BV-ABCDEF-20261128-01-C01", "HC-BV-ABCDEF-20261128-01-C02"
DECIDED = [
    (SECOND, {"disposition": "open", "consent": "withdrawn", "consent_ms": 1}),
    (SECOND, {"disposition": "keep"}),
    (FIRST, {"disposition": "open", "consent": "withdrawn", "consent_ms": 1}),
    (FIRST, {"disposition": "keep"}),
    (SECOND, {"retention": "incident", "retention_until": None}),
    (FIRST, {"disposition": "open", "consent": "withdrawn", "consent_ms": 2}),
    (SECOND, {"legal_hold": True}),
]


@pytest.fixture
def decisions(tmp_path: Path) -> Decisions:
    decisions = Decisions(tmp_path / "decisions.jsonl")
    for package, values in DECIDED:
        decisions.append(package, values, {"by": ["BS. Bình"], "reason": "đơn"})
    return decisions


def files(folder: Path) -> Sequence[Path]:
    return folder / "decisions.jsonl", folder / "decisions.copy.jsonl"


def flip(path: Path, offset: int, bits: int = 0x01) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= bits
    path.write_bytes(data)


@pytest.mark.parametrize("which", [0, 1])
def test_a_damaged_byte_in_one_file_costs_nothing(tmp_path: Path, decisions: Decisions, which: int) -> None:
    whole = decisions.newest()
    path = files(tmp_path)[which]
    for offset in range(0, path.stat().st_size, 5):
        # A letter, and a line feed where there was none, or none where there was one.
        for bits in (0x01, path.read_bytes()[offset] ^ 0x0A, 0x80):
            flip(path, offset, bits)
            assert decisions.newest() == whole, (offset, bits)
            flip(path, offset, bits)


def test_what_is_damaged_in_both_files_is_held_back(tmp_path: Path, decisions: Decisions) -> None:
    data = files(tmp_path)[0].read_bytes()
    # The last word of the first package, a later withdrawal.
    offset = data.rindex(b'"consent_ms":2') + 14
    for path in files(tmp_path):
        flip(path, offset - 1)
    found = decisions.newest()
    assert (found[FIRST]["disposition"], found[FIRST]["legal_hold"]) == ("open", True)
    # Whose it was may be what is damaged.
    assert found[SECOND]["disposition"] == "open"
    # People decide anew.
    decisions.append(FIRST, {"disposition": "keep"})
    decisions.append(FIRST, {"legal_hold": False})
    assert (decisions.newest()[FIRST]["disposition"], decisions.newest()[FIRST]["legal_hold"]) == (
        "keep",
        False,
    )


@pytest.mark.parametrize("offset", [0, 20, 60, 120])
def test_no_damage_to_the_file_of_an_older_version_lets_a_package_go_out(tmp_path: Path, offset: int) -> None:
    path = files(tmp_path)[0]
    lines = [canonical({"package": package, **values}) for package, values in DECIDED]
    path.write_bytes(b"".join(b"\n" + line + b"\n" for line in lines))
    decisions = Decisions(path)
    assert decisions.newest()[FIRST]["disposition"] == "open"
    withdrawal = path.read_bytes().rindex(b'{"consent":"withdrawn"')
    flip(path, withdrawal + min(offset, len(lines[5]) - 2), 0x80)
    assert decisions.newest()[FIRST]["disposition"] == "open"
    decisions.append(SECOND, {"legal_hold": True})
    assert decisions.newest()[FIRST]["disposition"] == "open"


def test_what_a_crash_has_torn_says_nothing(tmp_path: Path, decisions: Decisions) -> None:
    whole = decisions.newest()
    line = b"\n" + checked_line({"package": FIRST, "disposition": "keep"})
    for length in range(1, len(line) - 2):
        with files(tmp_path)[0].open("ab") as file:
            file.write(line[:length])
        assert decisions.newest() == whole
        os.truncate(files(tmp_path)[0], files(tmp_path)[0].stat().st_size - length)
    with files(tmp_path)[0].open("ab") as file:
        file.write(line[:30])
    decisions.append(FIRST, {"legal_hold": True})
    assert decisions.newest() == {**whole, FIRST: {**whole[FIRST], "legal_hold": True}}
    # Where the crash came between the files, the first one tells.
    with files(tmp_path)[0].open("ab") as file:
        file.write(line)
    assert decisions.newest()[FIRST]["disposition"] == "keep"


def test_what_the_first_file_has_lost_stands_in_the_other(tmp_path: Path, decisions: Decisions) -> None:
    whole = decisions.newest()
    first, _ = files(tmp_path)
    data = first.read_bytes()
    for length in range(0, len(data), 3):
        first.write_bytes(data[:length])
        assert decisions.newest() == whole, length
    first.unlink()
    assert decisions.newest() == whole
    decisions.append(FIRST, {"legal_hold": True})
    assert decisions.newest() == {**whole, FIRST: {**whole[FIRST], "legal_hold": True}}


def test_a_withdrawal_that_the_copy_has_missed_and_the_first_file_lost_is_held_back(
    tmp_path: Path, decisions: Decisions
) -> None:
    first, copy = files(tmp_path)
    data = first.read_bytes()
    (withdrawal,) = [line for line in data.split(b"\n") if b'"consent_ms":2' in line]
    copy.write_bytes(copy.read_bytes().replace(b"\n" + withdrawal, b""))
    assert decisions.newest()[FIRST]["disposition"] == "open"
    begin = data.index(withdrawal)
    for offset in range(begin, begin + len(withdrawal) - 1):
        flip(first, offset)
        assert decisions.newest()[FIRST]["disposition"] == "open", offset
        flip(first, offset)


def test_a_copy_that_cannot_be_read_costs_nothing(tmp_path: Path, decisions: Decisions) -> None:
    whole = decisions.newest()
    _, copy = files(tmp_path)
    copy.unlink()
    copy.mkdir()
    assert decisions.newest() == whole


def test_a_decision_that_the_disk_refuses_does_not_hold(
    tmp_path: Path, decisions: Decisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = decisions.newest()

    def refused(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patched:
        patched.setattr("bridge.store.decisions.os.fsync", refused)
        with pytest.raises(ArchiveFailed):
            decisions.append(FIRST, {"disposition": "keep"})
    assert decisions.newest() == whole
