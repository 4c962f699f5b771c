"""The table of docs/recording.md, "Consent": what is recorded, made, shown, delivered and kept of each word.

Each row is played through a journal as a room writes it, taken in by the archive, sealed, and looked at again
with a catalogue that was made anew: what people said must outlive it.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sealed
from aiohttp.test_utils import TestClient, TestServer
from library_server import Archive as Library
from library_server import Client, enter
from recordings import CO_TO, START_MS, VIET_DUC, Recording

from bridge import __main__ as hoichan
from bridge.archive.folders import ArchiveFolders
from bridge.archive.keeping.stores import LocalStore
from bridge.archive.model import SessionFolder
from bridge.archive.package.build import seal_package
from bridge.archive.plan.programme import plan_packages
from bridge.archive.work import deciding, tasks
from bridge.archive.work.attempts import Archive, now_ms
from bridge.archive.work.intake import ask_journal, read_session, take_in
from bridge.archive.work.jobs import Task
from bridge.archive.work.purge import purgeable
from bridge.archive.work.register import read_package, register, register_packages
from bridge.base.counters import ArchiveCounters
from bridge.base.errors import ArchiveFailed
from bridge.base.words import ConsentState, Disposition, PackageState, RecordingPolicy, RetentionClass
from bridge.capture.sessions import JOURNAL
from bridge.conference.cases import CaseBook, Hold, decide
from bridge.config import ArchiveConfig, DicomConfig
from bridge.store.audit import Action
from bridge.store.catalogue import FILE_NAME, Catalogue
from bridge.store.entries import PackageEntry
from bridge.store.journal import Chain, EventKind, JournalFile, copy_of

CASE = "HC-BV-20261125-01-C01"
PACS = DicomConfig(method="stow", stow_url="http://127.0.0.1:9/dicom-web")
A_MONTH_MS = 31 * 86_400_000
GRANTED, REFUSED, WITHDRAWN = ConsentState.GRANTED, ConsentState.REFUSED, ConsentState.WITHDRAWN
UNKNOWN = ConsentState.UNKNOWN
OPEN, KEEP = Disposition.OPEN, Disposition.KEEP
RESTRICT, DESTROY = Disposition.RESTRICT, Disposition.DESTROY

Words = Sequence[tuple[float, ConsentState]]


async def status(client: Client, path: str) -> int:
    """Return how a request ended, after all of its answer."""
    response = await client.get(path)
    await response.read()
    return response.status


class House:
    """One session of one case, and the archive that it goes into; the case begins at 1 s and ends at 9 s."""

    def __init__(self, folder: Path, words: Words) -> None:
        self.folders = ArchiveFolders(folder / "recordings", folder / "archive")
        self.folders.recordings.mkdir()
        self.folders.prepare()
        self.recording = Recording(self.folders.recordings)
        self.path = self.recording.folder
        self.catalogue = Catalogue(self.folders.archive)
        self._write(words)

    def _write(self, words: Words) -> None:
        recording = self.recording
        recording.join(0.0, VIET_DUC)
        recording.join(0.1, CO_TO)
        recording.add_case(0.2, "C01", "BN-0412", CO_TO)
        recording.note(1.0, EventKind.CASE_STARTED, case="C01", by=VIET_DUC.participant)
        is_recording = False
        for seconds, word in words:
            self._say(seconds, word)
            if seconds < 9.0:
                is_recording = word is GRANTED
                recording.state(seconds, "recording" if is_recording else "waiting", case="C01")
        recording.finish_case(9.0, "C01")
        recording.write()

    def _say(self, seconds: float, word: ConsentState) -> None:
        by = VIET_DUC.participant
        self.recording.note(seconds, EventKind.CONSENT, case="C01", purpose="care", state=word.value, by=by)

    def append(self, seconds: float, kind: EventKind, **data: object) -> None:
        """Write another line into the journal that is there."""
        journal = JournalFile(self.path / JOURNAL)
        journal.write([Chain(journal.events[-1]).append(kind, data, round(START_MS + seconds * 1000))])
        journal.close()

    def withdraw_in_the_room(self, seconds: float) -> None:
        self.append(
            seconds, EventKind.CONSENT, case="C01", purpose="care", state="withdrawn", by=VIET_DUC.participant
        )

    def take_in(self) -> None:
        decided = self.catalogue.decided()
        take_in(self.catalogue, self.folders, self.path, RetentionClass.ORDINARY, decided=decided)

    def seal(self) -> None:
        """Seal whatever is ready, as a worker does after composing it."""
        session = SessionFolder(self.path, read_session(self.path))
        for plan in plan_packages(session.events):
            known = self.catalogue.package(plan.package)
            if known is not None and known.seal is None:
                made = seal_package(
                    session,
                    plan,
                    sealed.composition(self.folders.work / plan.package),
                    self.folders.packages,
                    settings=sealed.SETTINGS,
                    previous_seal=self.catalogue.last_seal(),
                    now_ms=now_ms(),
                    report=lambda progress: None,
                )
                register(self.catalogue, read_package(made.folder), is_newest=True)

    def close(self) -> None:
        self.append(60.0, EventKind.SESSION_CLOSED, reason="room-closed")
        self.take_in()
        self.seal()

    def restart(self) -> None:
        """Begin again without the catalogue, as `archive recover` does."""
        self.catalogue.close()
        for path in self.folders.archive.glob(f"{FILE_NAME}*"):
            path.unlink()
        self.catalogue = Catalogue(self.folders.archive)
        register_packages(self.catalogue, self.folders)
        if self.path.exists():
            self.take_in()

    @property
    def case(self) -> PackageEntry:
        entry = self.catalogue.package(CASE)
        assert entry is not None
        return entry

    @property
    def archive(self) -> Archive:
        return Archive(self.folders, ArchiveConfig(), PACS, self.catalogue, ArchiveCounters())

    def goes_to_the_pacs(self) -> bool:
        """Ask the queue, and the worker that would do it: both must say the same."""
        is_queued = CASE in {entry.id for entry in self.catalogue.undelivered()}
        job = self.archive.job(Task.DELIVER, CASE)
        with pytest.raises(ArchiveFailed) as failed:
            tasks.deliver(job, lambda progress: None)
        # There is no PACS at this address: whatever may go fails for this reason.
        assert failed.value.code == ("pacs-unreachable" if is_queued else "withheld")
        return is_queued

    def goes_to_the_other_store(self) -> bool:
        return CASE in {entry.id for entry in self.catalogue.unstored()}

    async def opens(self) -> tuple[bool, bool]:
        """Return whether the room's chair can play the case, and whether the archive can."""
        library = Library(self.folders.archive, self.catalogue)
        can = []
        for token in (library.invitation(room="r-test"), library.key()):
            async with TestClient(TestServer(library.application())) as client:
                await enter(client, token)
                answers = {
                    await status(client, f"/api/archive/packages/{CASE}/{what}")
                    for what in ("parts/1", "download", "files/attendance", "gaps")
                }
                assert answers in ({200}, {403})
                shown = await (await client.get(f"/api/archive/packages/{CASE}")).json()
                assert bool(shown["attendance"]) is (answers == {200})
                assert shown["consent"] == self.case.consent
                assert shown["disposition"] == self.case.disposition
                can.append(answers == {200})
        return can[0], can[1]

    def tracks_may_go(self) -> bool:
        later = now_ms() + A_MONTH_MS
        # As if everything that goes to the PACS were there.
        for entry in self.catalogue.undelivered():
            self.catalogue.set_delivered(entry.id, now_ms())
        return purgeable(self.archive, later) is not None


@pytest.fixture
def house(tmp_path: Path) -> Iterator[Callable[..., House]]:
    houses = []

    def build(words: Words) -> House:
        houses.append(House(tmp_path, words))
        return houses[-1]

    yield build
    for built in houses:
        built.catalogue.close()


@dataclass(frozen=True)
class Row:
    """One line of the table; `spans_s` is what is recorded of the case, from 0 s on."""

    words: Words
    spans_s: Sequence[tuple[float, float]]
    disposition: Disposition | None
    room_opens: bool
    goes_out: bool


# When in the case (1 s to 9 s) which word was said; after 9 s the conference goes on with others.
TABLE = {
    "unknown": Row([], [], None, True, True),
    "refused": Row([(2.0, REFUSED)], [], None, True, True),
    "granted": Row([(2.0, GRANTED)], [(2.0, 9.0)], None, True, True),
    "withdrawn during the case": Row([(2.0, GRANTED), (5.0, WITHDRAWN)], [(2.0, 5.0)], OPEN, False, False),
    "refused after it was granted": Row([(2.0, GRANTED), (5.0, REFUSED)], [(2.0, 5.0)], OPEN, False, False),
    "withdrawn after the case": Row([(2.0, GRANTED), (20.0, WITHDRAWN)], [(2.0, 9.0)], OPEN, False, False),
    "granted again": Row(
        [(2.0, GRANTED), (4.0, WITHDRAWN), (6.0, GRANTED)], [(2.0, 4.0), (6.0, 9.0)], None, True, True
    ),
}


def spans_s(house: House) -> list[tuple[float, float]]:
    (plan,) = plan_packages(read_session(house.path))
    return [((span.start_ms - START_MS) / 1000, (span.end_ms - START_MS) / 1000) for span in plan.spans]


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
async def test_each_word_has_its_consequences_also_after_a_restart(
    house: Callable[..., House], row: Row
) -> None:
    built = house(row.words)
    assert spans_s(built) == list(row.spans_s)
    built.take_in()
    assert [entry.id for entry in built.catalogue.queued()] == [CASE]
    built.close()
    expected = (row.disposition, row.words[-1][1] if row.words else UNKNOWN)
    for restart in (lambda: None, built.restart):
        restart()
        assert built.case.seal is not None
        assert (built.case.disposition, built.case.consent) == expected
        assert built.catalogue.count_undecided() == int(row.disposition is not None)
        assert built.goes_to_the_pacs() is row.goes_out
        assert built.goes_to_the_other_store() is row.goes_out
        assert await built.opens() == (row.room_opens, True)
    assert built.tracks_may_go() is row.goes_out


@pytest.mark.parametrize("row", TABLE.values(), ids=TABLE.keys())
def test_each_word_decides_what_is_captured_also_after_a_restart(
    house: Callable[..., House], row: Row
) -> None:
    """A room that comes back knows from its journal what a patient has said."""
    events = read_session(house(row.words).path)
    for index, event in enumerate(events, 1):
        book = CaseBook(events[:index])
        if book.active is None:
            continue
        verdict = decide(
            RecordingPolicy.AUTO, book.active, hold=Hold.NONE, is_anybody_here=True, has_failed=False
        )
        seconds = (event.at_ms - START_MS) / 1000
        assert verdict.is_recording is any(start <= seconds < end for start, end in row.spans_s)


async def test_consent_withdrawn_in_the_room_after_sealing_holds_the_package_back(
    house: Callable[..., House],
) -> None:
    built = house([(2.0, GRANTED)])
    built.take_in()
    built.seal()
    assert await built.opens() == (True, True)
    built.withdraw_in_the_room(30.0)
    built.take_in()
    for restart in (lambda: None, built.restart):
        restart()
        assert (built.case.disposition, built.case.consent) == (OPEN, WITHDRAWN)
        assert not built.goes_to_the_pacs()
        assert not built.goes_to_the_other_store()
        assert await built.opens() == (False, True)


def test_of_a_broken_journal_nobody_knows_whether_consent_was_withdrawn(house: Callable[..., House]) -> None:
    built = house([(2.0, GRANTED)])
    built.append(30.0, EventKind.CHAT, text="x")
    built.append(60.0, EventKind.SESSION_CLOSED, reason="room-closed")
    journal = built.path / JOURNAL
    journal.write_bytes(journal.read_bytes().replace(b'"text":"x"', b'"text":"y"'))
    copy_of(journal).unlink(missing_ok=True)
    built.take_in()
    assert (built.case.disposition, built.case.consent) == (OPEN, UNKNOWN)
    built.seal()
    for restart in (lambda: None, built.restart):
        restart()
        assert built.case.disposition is OPEN
        assert not built.goes_to_the_pacs()


def test_a_withdrawal_outlives_catalogue_and_recordings(house: Callable[..., House]) -> None:
    """The sealed package says that consent was granted; only decisions.jsonl knows better."""
    built = house([(2.0, GRANTED)])
    built.take_in()
    built.seal()
    built.withdraw_in_the_room(30.0)
    built.take_in()
    assert [line.action for line in built.catalogue.audit.entries(package=CASE)] == [Action.WITHDRAW]
    built.path.rename(built.folders.recordings / "lost")
    built.restart()
    assert (built.case.disposition, built.case.consent) == (OPEN, WITHDRAWN)


def test_what_stands_in_the_journal_stops_a_delivery_that_nobody_has_told_yet(
    house: Callable[..., House],
) -> None:
    built = house([(2.0, GRANTED)])
    built.take_in()
    built.seal()
    built.withdraw_in_the_room(30.0)
    assert CASE in {entry.id for entry in built.catalogue.undelivered()}
    with pytest.raises(ArchiveFailed, match="withheld"):
        tasks.deliver(built.archive.job(Task.DELIVER, CASE), lambda progress: None)
    with pytest.raises(ArchiveFailed, match="withheld"):
        tasks.store(built.archive.job(Task.STORE, CASE), lambda progress: None)
    assert built.case.disposition is OPEN


def test_a_second_look_into_the_journal_changes_no_decision(house: Callable[..., House]) -> None:
    built = house([(2.0, GRANTED), (5.0, WITHDRAWN)])
    built.take_in()
    built.seal()
    with built.catalogue.deciding():
        built.catalogue.set_disposition(CASE, KEEP, by=["BS. An"], reason="chữ ký giấy", at_ms=now_ms())
    for _ in range(2):
        built.take_in()
        ask_journal(built.catalogue, built.folders, CASE)
        assert built.case.disposition is KEEP
        built.restart()
    assert built.goes_to_the_pacs()


def test_a_package_of_an_older_version_is_asked_for_its_consent(house: Callable[..., House]) -> None:
    built = house([(2.0, GRANTED), (5.0, WITHDRAWN)])
    built.take_in()
    built.seal()
    with built.catalogue._database.writing() as connection:
        connection.exec_driver_sql(
            "UPDATE packages SET consent = NULL, consent_ms = NULL, disposition = NULL"
        )
    (built.folders.archive / "decisions.jsonl").unlink()
    built.path.rename(built.folders.recordings / "lost")
    tasks.take_in_sessions(built.archive.job(Task.INTAKE))
    assert (built.case.disposition, built.case.consent) == (OPEN, WITHDRAWN)
    assert built.case.state is PackageState.SEALED


# What people decide.


def withdrawn(house: Callable[..., House]) -> House:
    built = house([(2.0, GRANTED)])
    built.take_in()
    built.close()
    built.catalogue.withhold(CASE, WITHDRAWN, now_ms(), by="command line", reason="đơn của gia đình")
    return built


@pytest.mark.parametrize(
    ("disposition", "expected"),
    [
        # The room opens it, it goes to the PACS, to the other store, and its tracks have served.
        (KEEP, (True, True, True, True)),
        (RESTRICT, (False, False, True, True)),
    ],
)
async def test_a_decision_has_its_consequences_also_after_a_restart(
    house: Callable[..., House], disposition: Disposition, expected: tuple[bool, ...]
) -> None:
    built = withdrawn(house)
    assert built.catalogue.count_undecided() == 1
    deciding.decide(built.archive, CASE, disposition, by=["BS. Trần Bình"], reason="theo đơn số 12")
    for restart in (lambda: None, built.restart):
        restart()
        assert built.case.disposition is disposition
        assert built.catalogue.count_undecided() == 0
        room, archive = await built.opens()
        assert archive
        assert (room, built.goes_to_the_pacs(), built.goes_to_the_other_store()) == expected[:3]
    assert built.tracks_may_go() is expected[3]


def test_a_decision_stands_in_decisions_and_audit_with_who_and_why(house: Callable[..., House]) -> None:
    built = withdrawn(house)
    deciding.decide(built.archive, CASE, RESTRICT, by=["BS. Trần Bình"], reason="theo đơn số 12")
    lines = (built.folders.archive / "decisions.jsonl").read_bytes().splitlines()
    written = json.loads(lines[-1])
    assert (written["disposition"], written["by"]) == ("restrict", ["BS. Trần Bình"])
    assert written["reason"] == "theo đơn số 12"
    newest = built.catalogue.audit.entries(package=CASE)[0]
    assert newest.action is Action.DECIDE
    detail = {"decision": "restrict", "by": ["BS. Trần Bình"], "reason": "theo đơn số 12"}
    assert newest.detail == detail


async def test_what_is_destroyed_is_gone_everywhere_and_leaves_a_certificate(
    house: Callable[..., House],
) -> None:
    built = withdrawn(house)
    leftover = built.folders.work / f"{CASE}.delivery" / "object.dcm"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    by, reason = ["GS. Nguyễn Lân", "BS. Trần Bình"], "đơn của gia đình"
    certificate = deciding.decide(built.archive, CASE, DESTROY, by=by, reason=reason)
    assert (certificate["basis"], certificate["approved_by"]) == ("consent-withdrawn", by)
    assert not (built.folders.packages / CASE).exists()
    assert not leftover.exists()
    for restart in (lambda: None, built.restart):
        restart()
        assert (built.case.deleted_ms is None, built.case.disposition) == (False, DESTROY)
        assert built.catalogue.count_undecided() == 0
        assert built.catalogue.queued() == built.catalogue.undelivered() == ()
        (other,) = built.catalogue.unstored()
        assert other.case is None
    # The session's own package is what is left to wait for.
    assert built.tracks_may_go()


def test_a_case_is_destroyed_before_it_was_sealed(house: Callable[..., House]) -> None:
    built = house([(2.0, GRANTED), (5.0, WITHDRAWN)])
    built.take_in()
    assert deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn") == {}
    for restart in (lambda: None, built.restart):
        restart()
        assert built.catalogue.queued() == ()
        with pytest.raises(ArchiveFailed, match="package-deleted"):
            tasks.archive(built.archive.job(Task.ARCHIVE, CASE), lambda progress: None)


def test_a_case_is_destroyed_whose_worker_died_before_telling_that_it_was_sealed(
    house: Callable[..., House],
) -> None:
    built = house([(2.0, GRANTED), (5.0, WITHDRAWN)])
    built.take_in()
    built.seal()
    # As before the package was entered.
    with built.catalogue._database.writing() as connection:
        connection.exec_driver_sql(
            f"UPDATE packages SET seal = NULL, seal_number = NULL, state = 'queued' WHERE id = '{CASE}'"
        )
    certificate = deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    assert certificate["basis"] == "consent-withdrawn"
    assert not (built.folders.packages / CASE).exists()
    for restart in (lambda: None, built.restart):
        restart()
        assert built.case.deleted_ms is not None
        assert built.catalogue.queued() == ()


def test_what_was_set_aside_as_unreadable_goes_with_its_case_and_the_others_stays(
    house: Callable[..., House],
) -> None:
    built = withdrawn(house)
    track = built.path / "tracks" / "t001-p-1-camera"
    aside = track / "damaged"
    aside.mkdir(parents=True)
    lines = [
        {"k": "segment", "file": f"{number:05}.mkv", "case": case}
        for number, case in enumerate(("C01", "C01", "C02", None), 1)
    ]
    (track / "track.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for folder, names in ((track, ("00001", "00004")), (aside, ("00002", "00003"))):
        for name in names:
            (folder / f"{name}.mkv").touch()
    deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    assert sorted(path.name for path in track.rglob("*.mkv")) == ["00003.mkv", "00004.mkv"]


def test_nothing_is_left_of_a_destroyed_case_whose_sealing_was_interrupted(
    house: Callable[..., House],
) -> None:
    built = house([(2.0, GRANTED), (5.0, WITHDRAWN)])
    built.take_in()
    video = built.folders.packages / f"{CASE}.partial" / "data" / "video" / "part-001.mp4"
    video.parent.mkdir(parents=True)
    video.touch()
    deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    assert list(built.folders.packages.iterdir()) == []


@pytest.mark.parametrize(
    ("disposition", "by", "reason", "code"),
    [
        (DESTROY, ["BS. An"], "đơn", "two-approvers"),
        # The same person, however the name is written.
        (DESTROY, ["BS. Trần Bình", " bs. tran  binh"], "đơn", "two-approvers"),
        (KEEP, [" "], "đơn", "not-approved"),
        (RESTRICT, ["BS. An"], " ", "not-approved"),
    ],
)
def test_a_decision_needs_people_and_a_reason(
    house: Callable[..., House], disposition: Disposition, by: list[str], reason: str, code: str
) -> None:
    built = withdrawn(house)
    with pytest.raises(ArchiveFailed) as failed:
        deciding.decide(built.archive, CASE, disposition, by=by, reason=reason)
    assert failed.value.code == code
    assert built.case.disposition is OPEN
    assert (built.folders.packages / CASE).exists()


@pytest.mark.parametrize("word", [None, "legal-hold", "kept-for-ever"])
def test_destroying_is_no_way_around_what_must_be_kept(house: Callable[..., House], word: str | None) -> None:
    built = withdrawn(house) if word else house([(2.0, GRANTED)])
    if word is None:
        built.take_in()
        built.seal()
    elif word == "legal-hold":
        built.catalogue.set_legal_hold(CASE, True)
    else:
        built.catalogue.set_retention(CASE, RetentionClass.INCIDENT, None)
    before = built.case
    with pytest.raises(ArchiveFailed) as failed:
        deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    assert failed.value.code == (word or "nothing-to-decide")
    assert built.case == before
    assert (built.folders.packages / CASE).exists()


def test_destruction_that_was_interrupted_waits_for_the_same_decision(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch
) -> None:
    built = withdrawn(house)

    def away(*_: object) -> list[LocalStore]:
        raise ArchiveFailed("store-unreachable", "the store is away")

    with monkeypatch.context() as patched:
        patched.setattr(deciding, "stores", away)
        with pytest.raises(ArchiveFailed, match="store-unreachable"):
            deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    built.restart()
    assert (built.case.disposition, built.catalogue.count_undecided()) == (DESTROY, 1)
    assert not built.goes_to_the_pacs()
    with pytest.raises(ArchiveFailed, match="being-destroyed"):
        deciding.decide(built.archive, CASE, KEEP, by=["A"], reason="nhầm")
    deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
    assert built.catalogue.count_undecided() == 0


def test_a_check_completes_a_destruction_whose_other_store_was_away(
    house: Callable[..., House], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = withdrawn(house)
    other = LocalStore(tmp_path / "other")
    (tmp_path / "other").mkdir()
    other.put(built.folders.packages / CASE, report=lambda progress: None)

    class Away(LocalStore):
        def delete(self, package: str, tagmanifest_sha256: str) -> None:
            raise ArchiveFailed("store-unreachable", "the store is away")

    here = LocalStore(built.folders.packages)
    job = built.archive.job(Task.CHECK, CASE)
    with monkeypatch.context() as patched:
        patched.setattr(deciding, "stores", lambda *_: [here, Away(tmp_path / "other")])
        patched.setattr("bridge.archive.keeping.stores.stores", lambda *_: [here, Away(tmp_path / "other")])
        with pytest.raises(ArchiveFailed, match="store-unreachable"):
            deciding.decide(built.archive, CASE, DESTROY, by=["A", "B"], reason="đơn")
        with pytest.raises(ArchiveFailed, match="store-unreachable"):
            tasks.check(job, lambda progress: None)
    assert (built.case.deleted_ms, built.catalogue.count_undecided()) == (None, 1)
    monkeypatch.setattr("bridge.archive.keeping.stores.stores", lambda *_: [here, other])
    # Whoever puts it on hold meanwhile keeps what is left of it.
    built.catalogue.set_legal_hold(CASE, True)
    with pytest.raises(ArchiveFailed, match="legal-hold"):
        tasks.check(job, lambda progress: None)
    assert other.packages() == [CASE]
    built.catalogue.set_legal_hold(CASE, False)
    assert tasks.check(job, lambda progress: None) == {"problems": []}
    assert other.packages() == []
    assert built.case.deleted_ms is not None


def test_consent_withdrawn_again_after_a_decision_is_decided_anew(house: Callable[..., House]) -> None:
    built = withdrawn(house)
    deciding.decide(built.archive, CASE, KEEP, by=["A"], reason="đồng ý lại")
    assert built.catalogue.withhold(CASE, WITHDRAWN, now_ms(), by="command line", reason="rút lại lần hai")
    assert built.case.disposition is OPEN
    assert not built.goes_to_the_pacs()


# The same by the command line.


def test_the_command_line_withdraws_finds_and_decides(
    house: Callable[..., House], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    built = house([(2.0, GRANTED)])
    built.take_in()
    built.close()

    def says(*words: str, status: int = 0) -> str:
        assert hoichan.main(["archive", *words, "--state-dir", str(tmp_path), "--lang", "en"]) == status
        captured = capsys.readouterr()
        return captured.out + captured.err

    whole = CASE.replace("C01", "S")
    assert "no packages" in says("list", "--undecided").lower()
    assert "has not withdrawn" in says("decide", CASE, "keep", "--by", "A", "--reason", "đơn", status=1)
    assert "belongs to no case" in says("withdraw", whole, "--reason", "đơn", status=1)
    assert "held back" in says("withdraw", CASE, "--reason", "đơn của gia đình")
    assert "already" in says("withdraw", CASE, "--reason", "đơn của gia đình")
    listed = says("list", "--undecided")
    assert CASE in listed
    assert whole not in listed
    assert "people have to decide" in listed
    shown = says("show", CASE)
    assert "withdrawn" in shown
    assert "is held back" in says("delete", CASE, "--approved-by", "A", "--reason", "đơn", status=1)
    assert "two different people" in says("decide", CASE, "destroy", "--by", "A", "--reason", "đơn", status=1)
    assert "only the archive" in says("decide", CASE, "restrict", "--by", "A", "--reason", "đơn")
    # Restricted is not for ever out of reach; it takes as many people as from the beginning.
    assert "destroyed" in says("decide", CASE, "destroy", "--by", "A", "--by", "B", "--reason", "đơn")
    assert "no package" in says("show", f"{CASE}9", status=1)
    assert not (built.folders.packages / CASE).exists()
    assert (built.folders.certificates / f"{CASE}.json").exists()


# What is said of a session that goes on.


def states(house: House) -> dict[str, PackageState]:
    house.take_in()
    return {entry.id[-3:]: entry.state for entry in house.catalogue.packages_of(house.case.session)}


def test_only_what_is_being_recorded_is_said_to_be(house: Callable[..., House]) -> None:
    built = house([])
    built.take_in()
    assert states(built) == {"C01": PackageState.QUEUED, "1-S": PackageState.ONGOING}
    by = VIET_DUC.participant

    def record(seconds: float, state: str, case: str | None) -> None:
        built.append(seconds, EventKind.RECORDING_STATE, state=state, by=by, case=case)

    record(30.0, "recording", None)
    assert states(built)["1-S"] is PackageState.RECORDING
    record(31.0, "paused", None)
    assert states(built)["1-S"] is PackageState.ONGOING
    built.append(32.0, EventKind.CASE_ADDED, case="C02", code="BN-2", site=None)
    built.append(33.0, EventKind.CASE_STARTED, case="C02", by=by)
    record(33.0, "waiting", "C02")
    assert states(built)["C02"] is PackageState.ONGOING
    record(34.0, "recording", "C02")
    assert (states(built)["C02"], states(built)["1-S"]) == (PackageState.RECORDING, PackageState.ONGOING)
    built.append(35.0, EventKind.SESSION_RESUMED, after_ms=START_MS + 34_500)
    assert states(built)["C02"] is PackageState.ONGOING
    record(36.0, "recording", "C02")
    built.append(37.0, EventKind.CASE_FINISHED, case="C02", by=by)
    record(37.0, "recording", None)
    assert (states(built)["C02"], states(built)["1-S"]) == (PackageState.QUEUED, PackageState.RECORDING)
