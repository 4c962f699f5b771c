"""The table of docs/recording.md, "Consent": what is recorded, made, shown, delivered and kept of each word.

Each row is played through a journal as a room writes it, taken in by the archive, sealed, and looked at again
with a catalogue that was made anew: what people said must outlive it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import sealed
from aiohttp.test_utils import TestClient, TestServer
from library_server import Archive as Library
from library_server import Client, enter
from recordings import CO_TO, START_MS, VIET_DUC, Recording

from bridge.archive.folders import ArchiveFolders
from bridge.archive.model import SessionFolder
from bridge.archive.package.build import seal_package
from bridge.archive.plan.programme import plan_packages
from bridge.archive.work import tasks
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
from bridge.store.journal import Chain, EventKind, JournalFile

CASE = "HC-BV-20261125-01-C01"
PACS = DicomConfig(method="stow", stow_url="http://127.0.0.1:9/dicom-web")
A_MONTH_MS = 31 * 86_400_000
GRANTED, REFUSED, WITHDRAWN = ConsentState.GRANTED, ConsentState.REFUSED, ConsentState.WITHDRAWN
UNKNOWN = ConsentState.UNKNOWN
OPEN, KEEP, RESTRICT = Disposition.OPEN, Disposition.KEEP, Disposition.RESTRICT

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
