"""Sessions: their names, their journals, and what becomes of those that a crash interrupts."""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from capture import Recorded, RecordedMeeting, read_track, recover
from media import decoded_frames, packet_times_ms
from network import Network

from bridge.archive.folders import ArchiveFolders
from bridge.archive.keeping.erasure import erase_case
from bridge.base.errors import InvalidConfig
from bridge.base.words import Role, Source
from bridge.capture.files import EVENTS_MAX
from bridge.capture.recorder import TELL_S
from bridge.capture.repair import find_interrupted, repair_session
from bridge.capture.sessions import FolderLock, SessionNames, is_session, track_name, track_number
from bridge.node.host import installation_id
from bridge.store.journal import EventKind

Open = Callable[..., RecordedMeeting]
WALL_MS = 1_800_000_000_000


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as network:
        yield network


@pytest.fixture
def open_meeting(network: Network, tmp_path: Path) -> Iterator[Open]:
    meetings: list[RecordedMeeting] = []

    def open_one(name: str = "recordings", **settings: Any) -> RecordedMeeting:
        meetings.append(RecordedMeeting(network, tmp_path / name, **settings))
        return meetings[-1]

    yield open_one
    for meeting in meetings:
        meeting.close()


def recorded_for(meeting: RecordedMeeting, seconds: float, role: Role = Role.EXPERT) -> None:
    meeting.film("hue")
    joined = {"participant": "hue", "role": role.value, "device": False, "link": "i-hue"}
    meeting.recorder.note(EventKind.PARTICIPANT_JOINED, joined)
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
    meeting.recorder.capture(True)
    meeting.run(seconds)


def as_killed(meeting: RecordedMeeting, name: str) -> Path:
    """Copy the folder as it is in the middle of everything, which is what a kill leaves."""
    folder = meeting.folder.parent / name
    shutil.copytree(meeting.folder, folder)
    return folder


def hold(meeting: RecordedMeeting) -> None:
    for session in recover(meeting.folder):
        meeting.recordings.hold(session)


def newest_frame_ms(session: Recorded) -> int:
    newest = []
    for track in session.tracks():
        begun = {line["stream"]: line["at_ms"] for line in track.of("stream")}
        for line in track.of("segment"):
            path = track.folder / line["file"]
            if path.exists():
                newest.append(begun[line["stream"]] + packet_times_ms(path)[-1])
    return int(max(newest))


def test_names_count_the_sessions_of_a_day_in_local_time() -> None:
    names = SessionNames("BV", ())
    evening_ms = 1_800_032_399_000
    assert names.next(evening_ms) == "HC-BV-20270115-01"
    assert names.next(evening_ms) == "HC-BV-20270115-02"
    assert names.next(evening_ms + 1000) == "HC-BV-20270116-01"


def test_a_clock_that_is_set_back_gives_no_name_twice() -> None:
    names = SessionNames("BV", ())
    given = [names.next(at_ms) for at_ms in (WALL_MS, WALL_MS + 86_400_000, WALL_MS, WALL_MS)]
    assert len(set(given)) == 4


def test_a_folder_that_is_there_already_is_not_written_into(
    open_meeting: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    meeting = open_meeting()
    foreign = tmp_path / "recordings" / "HC-BV-20270115-02"
    foreign.mkdir()
    second = meeting.open("r-2")
    assert second.session == foreign.name
    meeting.run(1.0)
    assert list(foreign.iterdir()) == []
    assert meeting.observer.failures == 1


def test_names_go_on_after_a_restart() -> None:
    used = ("HC-BV-20270115-01", "HC-BV-20270115-12", "HC-BV-20270114-99", "HC-OLD-20270115-03", ".lock", "x")
    assert SessionNames("BV", used).next(WALL_MS) == "HC-BV-20270115-13"


def test_two_installations_with_the_same_site_code_never_give_the_same_name() -> None:
    here, there = (SessionNames("BV", (), installation=name) for name in ("K7QXAB", "ZZ2345"))
    assert here.next(WALL_MS) == "HC-BV-K7QXAB-20270115-01"
    assert there.next(WALL_MS) == "HC-BV-ZZ2345-20270115-01"
    assert is_session("HC-BV-K7QXAB-20270115-01")
    assert is_session("HC-BV-20270115-01")


def test_name_that_only_the_archive_knows_is_not_given_again(tmp_path: Path) -> None:
    folders = ArchiveFolders(tmp_path / "recordings", tmp_path)
    folders.prepare()
    (folders.packages / "HC-BV-K7QXAB-20270115-04-S").mkdir()
    (folders.certificates / "HC-BV-20270115-07-C01.json").touch()
    names = SessionNames("BV", folders.archived_sessions(), installation="K7QXAB")
    assert names.next(WALL_MS) == "HC-BV-K7QXAB-20270115-08"


def test_installation_is_made_once_and_kept(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = installation_id(tmp_path / "a")
    assert installation_id(tmp_path / "a") == first
    assert installation_id(tmp_path / "b") != first
    assert is_session(f"HC-BV-{first}-20270115-01")


@pytest.mark.parametrize("damaged", [b"../x", b"QINN\xcaD\n", b"qINNJD\n", b""])
def test_a_damaged_installation_is_put_aside_for_another(tmp_path: Path, damaged: bytes) -> None:
    (tmp_path / "installation").write_bytes(damaged)
    made = installation_id(tmp_path)
    assert re.fullmatch("[A-Z2-7]{6}", made)
    assert installation_id(tmp_path) == made
    assert (tmp_path / "installation.damaged").read_bytes() == damaged


def test_track_names_say_whose_they_are() -> None:
    name = track_name(3, "p-1f2e3d4c", Source.CAMERA)
    assert name == "t003-p-1f2e3d4c-camera"
    assert track_number(name) == 3
    assert track_number("lost+found") == 0


def test_a_folder_belongs_to_one_process(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path / "recordings")
    with pytest.raises(InvalidConfig, match="another process"):
        FolderLock(tmp_path / "recordings")
    lock.release()
    FolderLock(tmp_path / "recordings").release()
    (tmp_path / "file").touch()
    with pytest.raises(InvalidConfig, match=r"recording\.dir"):
        FolderLock(tmp_path / "file" / "recordings")


def test_a_session_is_journalled_from_its_opening_to_its_end(open_meeting: Open) -> None:
    meeting = open_meeting()
    recorded_for(meeting, 2.0)
    meeting.recorder.close("room-closed")
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    assert meeting.session.kinds() == [
        "session-opened",
        "participant-joined",
        "stage",
        "track-started",
        "track-started",
        "track-ended",
        "track-ended",
        "session-closed",
    ]
    opened = meeting.session.events[0]
    assert opened.at_ms == WALL_MS
    assert opened.data["room"] == "r-1"
    assert opened.data["conference_kind"] == "consultation"
    assert opened.data["session"] == meeting.session.folder.name
    assert meeting.archivable == [meeting.session.folder]
    assert find_interrupted(meeting.folder) == []
    assert not (meeting.session.folder / ".reserve").exists()


def test_a_finished_case_can_be_archived_while_the_room_goes_on(open_meeting: Open) -> None:
    meeting = open_meeting()
    recorded_for(meeting, 2.0)
    meeting.recorder.cut()
    meeting.run(3.0)
    assert meeting.archivable == [meeting.session.folder]
    track = meeting.session.track("hue")
    assert [decoded_frames(path) > 20 for path in track.segments] == [True, True]
    first, second = track.segments
    assert packet_times_ms(second)[0] - packet_times_ms(first)[-1] <= 34
    meeting.recorder.capture(False)
    meeting.recorder.cut()
    meeting.run(0.3)
    assert len(meeting.archivable) == 2


def test_an_interrupted_session_goes_on_when_its_room_opens_again(open_meeting: Open) -> None:
    before = open_meeting()
    recorded_for(before, 3.1)
    as_killed(before, "again")
    # The server is down for a while; its clock goes on.
    before.run(20.0)
    after = open_meeting("again")
    after.recorder.close("room-closed")
    hold(after)
    other = after.open("another-room")
    assert list(other.restored) == []
    recorder = after.open("r-1")
    assert recorder.session == before.recorder.session
    assert [event.kind for event in recorder.restored][:3] == [
        EventKind.SESSION_OPENED,
        EventKind.PARTICIPANT_JOINED,
        EventKind.STAGE,
    ]
    after.router.recorder = recorder
    after.recorder = recorder
    after.film("hue")
    recorder.capture(True)
    after.run(2.0)
    recorder.close("room-closed")
    after.run(1.0)
    session = after.session
    kinds = session.kinds()
    assert kinds[:8] == [
        "session-opened",
        "participant-joined",
        "stage",
        "track-started",
        "track-started",
        "track-ended",
        "track-ended",
        "session-resumed",
    ]
    assert kinds[-1] == "session-closed"
    assert kinds.count("session-opened") == kinds.count("session-resumed") == 1
    resumed = session.events[7]
    ended = session.events[5]
    assert resumed.data["after_ms"] == ended.at_ms
    # Nothing older than the flush interval is missing.
    assert WALL_MS + 3100 - 600 < resumed.data["after_ms"] <= WALL_MS + 3100
    numbers = [track_number(track.folder.name) for track in session.tracks()]
    assert numbers == [1, 2, 3, 4]
    assert all(track.lines[-1]["k"] == "end" for track in session.tracks())
    for track in session.tracks():
        for segment in track.segments:
            assert decoded_frames(segment) == len(packet_times_ms(segment)) > 0


def test_a_session_whose_clock_is_set_back_goes_on_where_it_stopped(
    open_meeting: Open, network: Network
) -> None:
    before = open_meeting()
    recorded_for(before, 3.0)
    as_killed(before, "again")
    after = open_meeting("again", wall_s=WALL_MS / 1000 - 600)
    after.recorder.close("room-closed")
    hold(after)
    recorder = after.recorder = after.router.recorder = after.open("r-1")
    after.film("hue")
    recorder.capture(True)
    after.run(5.0)
    recorder.close("room-closed")
    after.run(1.0)
    events = after.session.events
    times = [event.at_ms for event in events]
    assert times == sorted(times)
    (resumed,) = (event for event in events if event.kind is EventKind.SESSION_RESUMED)
    assert events[-1].at_ms - resumed.at_ms == pytest.approx(5000, abs=100)
    # The media are where the journal says that it was recorded.
    began = [line["at_ms"] for track in after.session.tracks() for line in track.of("stream")]
    assert [at_ms for at_ms in began if at_ms > resumed.at_ms] != []
    assert all(WALL_MS <= at_ms <= events[-1].at_ms for at_ms in began)


def test_a_session_that_nobody_comes_back_to_is_ended_where_it_stopped(open_meeting: Open) -> None:
    before = open_meeting()
    recorded_for(before, 3.1)
    as_killed(before, "again")
    after = open_meeting("again")
    after.recorder.close("room-closed")
    hold(after)
    after.run(59.0)
    session = Recorded(after.folder / before.recorder.session)
    assert session.kinds()[-1] == "track-started"
    after.run(2.0)
    last = session.events[-1]
    assert last.kind is EventKind.SESSION_CLOSED
    assert last.data == {"reason": "interrupted"}
    assert last.at_ms == newest_frame_ms(session)
    assert session.kinds().count("track-ended") == 2
    assert session.folder in after.archivable
    assert find_interrupted(after.folder) == []


@pytest.mark.parametrize(("role", "is_kept"), [(Role.SECRETARY, True), (Role.EXPERT, False)])
def test_a_list_of_cases_keeps_a_session_only_until_people_have_come_for_it(
    open_meeting: Open, role: Role, is_kept: bool
) -> None:
    before = open_meeting()
    recorded_for(before, 1.1, role)
    before.recorder.note(EventKind.CASE_ADDED, {"case": "C01", "code": "BN-1", "site": None})
    before.run(1.1)
    as_killed(before, "again")
    after = open_meeting("again")
    after.recorder.close("room-closed")
    hold(after)
    after.run(62.0)
    session = Recorded(after.folder / before.recorder.session)
    assert (session.events[-1].kind is not EventKind.SESSION_CLOSED) is is_kept


def test_an_orderly_stop_leaves_the_session_to_be_gone_on_with(open_meeting: Open) -> None:
    before = open_meeting()
    recorded_for(before, 2.0)
    before.recorder.note(EventKind.PARTICIPANT_LEFT, {"participant": "hue", "reason": "closed"})
    before.recorder.close("shutdown")
    before.run(1.0)
    assert before.archivable == []
    assert before.session.kinds()[-1] == "track-ended"
    before.close()
    after = open_meeting()
    after.recorder.close("room-closed")
    hold(after)
    recorder = after.open("r-1")
    assert recorder.session == before.recorder.session
    recorder.close("shutdown")
    after.run(0.5)
    after.close()
    later = open_meeting()
    hold(later)
    later.run(61.0)
    session = Recorded(later.folder / before.recorder.session)
    assert session.events[-1].data == {"reason": "shutdown"}


def test_a_session_from_long_ago_is_ended_at_once(open_meeting: Open, network: Network) -> None:
    before = open_meeting()
    recorded_for(before, 1.0)
    as_killed(before, "again")
    before.close()
    network._calls.clear()
    network.now += 3700.0
    after = open_meeting("again")
    hold(after)
    recorder = after.open("r-1")
    assert recorder.session != before.recorder.session
    after.run(0.5)
    assert Recorded(after.folder / before.recorder.session).kinds()[-1] == "session-closed"


def test_repair_loses_no_whole_line_and_no_whole_frame(open_meeting: Open) -> None:
    meeting = open_meeting()
    recorded_for(meeting, 3.1)
    folder = as_killed(meeting, "torn") / meeting.recorder.session
    track = next(folder.glob("tracks/*-camera"))
    segment = track / "00001.mkv"
    times = packet_times_ms(segment)
    segment.write_bytes(segment.read_bytes()[:-10])
    with (track / "track.jsonl").open("ab") as log:
        log.write(b'{"k":"clock","str')
    with (folder / "journal.jsonl").open("ab") as journal:
        journal.write(b'{"at_ms":18')
    interrupted = repair_session(folder)
    assert interrupted is not None
    assert packet_times_ms(segment) == times[:-1]
    assert decoded_frames(segment) == len(times) - 1
    lines = read_track(track).lines
    assert [line["k"] for line in lines].count("end") == 1
    assert lines[-1] == {"k": "end", "at_ms": lines[1]["at_ms"] + times[-2], "reason": "interrupted"}
    assert interrupted.ended_ms == newest_frame_ms(Recorded(folder))
    # And once more, as after a kill in the middle of it.
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    again = repair_session(folder)
    assert again is not None
    assert again.ended_ms == interrupted.ended_ms
    changed = {path for path, data in before.items() if path.read_bytes() != data}
    assert changed == set()


def test_a_session_in_which_nothing_happened_yet_disappears(tmp_path: Path) -> None:
    folder = tmp_path / "HC-BV-20270115-01"
    folder.mkdir()
    (folder / "journal.jsonl").touch()
    (folder / ".reserve").write_bytes(bytes(100))
    assert recover(tmp_path) == []
    assert not folder.exists()


def test_an_event_that_cannot_be_read_back_is_not_written(open_meeting: Open) -> None:
    meeting = open_meeting()
    meeting.recorder.note(EventKind.CHAT, {"text": "x" * 70_000})
    meeting.recorder.note(EventKind.CHAT, {"text": "Chào các đồng nghiệp"})
    meeting.run(1.0)
    assert [event.data.get("text") for event in meeting.session.events] == [None, "Chào các đồng nghiệp"]
    assert meeting.recording_counters.events_dropped == 1


def test_while_nothing_can_be_written_what_parts_the_cases_is_kept_longest(open_meeting: Open) -> None:
    meeting = open_meeting()
    recorder = meeting.recorder
    for number in range(EVENTS_MAX):
        recorder.note(EventKind.SPEAKERS, {"voices": [], "dominant": None, "number": number})
    recorder.note(EventKind.CASE_FINISHED, {"case": "C01", "by": "hue"})
    recorder.note(EventKind.CASE_STARTED, {"case": "C02", "by": "hue"})
    meeting.run(1.0)
    kinds = [event.kind for event in meeting.session.events]
    assert kinds[-2:] == [EventKind.CASE_FINISHED, EventKind.CASE_STARTED]
    assert kinds.count(EventKind.SPEAKERS) < EVENTS_MAX
    assert meeting.recording_counters.events_dropped == EVENTS_MAX - kinds.count(EventKind.SPEAKERS)


def test_counters_tell_what_was_written(open_meeting: Open) -> None:
    meeting = open_meeting()
    assert meeting.recording_counters.sessions_open == 1
    recorded_for(meeting, 3.0)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)
    written = [path for track in meeting.session.tracks() for path in track.segments]
    counters = meeting.recording_counters
    assert counters.frames_written == sum(len(packet_times_ms(path)) for path in written)
    assert 0 < counters.bytes_written < sum(path.stat().st_size for path in written)
    assert counters.sessions_open == counters.queue_dropped == counters.recordings_failed == 0
    assert counters.disk_free_bytes > 0
    assert sum(counters.sync_s.counts) > 4


@pytest.mark.parametrize("has_begun", [False, True])
def test_planned_cases_outlive_a_long_stop_unless_the_conference_has_begun(
    open_meeting: Open, network: Network, has_begun: bool
) -> None:
    before = open_meeting()
    case = {"case": "C01", "code": "BN-1", "site": None}
    before.recorder.note(EventKind.CASE_ADDED, case)
    if has_begun:
        before.recorder.note(EventKind.CASE_STARTED, {"case": "C01", "by": "hue"})
    before.run(1.0)
    as_killed(before, "again")
    before.close()
    network._calls.clear()
    network.now += 2 * 3600.0
    after = open_meeting("again")
    after.recorder.close("room-closed")
    hold(after)
    after.run(61.0)
    recorder = after.open("r-1")
    assert (recorder.session == before.recorder.session) is not has_begun
    assert any(event.kind is EventKind.CASE_ADDED for event in recorder.restored) is not has_begun


def test_what_is_recorded_is_closed_to_other_users_whatever_the_umask(open_meeting: Open) -> None:
    before = os.umask(0)
    try:
        meeting = open_meeting()
        recorded_for(meeting, 2.0)
        meeting.recorder.close("room-closed")
        meeting.run(1.0)
    finally:
        os.umask(before)
    paths = [meeting.folder, *meeting.folder.rglob("*")]
    assert len(paths) > 8
    assert [path.name for path in paths if path.stat().st_mode & 0o077] == []


def test_one_case_is_taken_out_of_the_tracks_and_the_others_stay(open_meeting: Open) -> None:
    meeting = open_meeting()
    meeting.film("hue")
    meeting.recorder.note(EventKind.STAGE, {"participant": "hue", "mode": "speaker"})
    for case in ("C01", "C02"):
        meeting.recorder.note(EventKind.RECORDING_STATE, {"state": "recording", "by": None, "case": case})
        meeting.recorder.capture(True)
        meeting.run(3.0)
        meeting.recorder.capture(False)
    meeting.recorder.close("room-closed")
    meeting.run(1.0)

    def files(case: str) -> set[Path]:
        lines = [(track.folder, line) for track in meeting.session.tracks() for line in track.of("segment")]
        return {folder / line["file"] for folder, line in lines if line["case"] == case}

    before = {path: path.read_bytes() for path in files("C02")}
    assert len(before) >= 2
    gone = files("C01")
    assert all(path.exists() for path in gone)
    # A damaged byte makes another's segment look like one of this case; its checksum knows better.
    log = next(iter(before)).parent / "track.jsonl"
    assert b'"case":"C02"' in log.read_bytes()
    log.write_bytes(log.read_bytes().replace(b'"case":"C02"', b'"case":"C01"'))
    assert erase_case(meeting.session.folder, "C01") == len(gone) >= 2
    assert not any(path.exists() for path in gone)
    assert {path: path.read_bytes() for path in before} == before
    assert erase_case(meeting.session.folder, "C01") == 0


def test_the_archive_is_told_when_it_is_recorded_or_no_longer_and_not_of_each_press(
    open_meeting: Open,
) -> None:
    meeting = open_meeting()
    meeting.run(1.0)
    assert meeting.changed == []
    for state in ("recording", "paused", "recording", "stopped"):
        meeting.recorder.note(EventKind.RECORDING_STATE, {"state": state, "by": None, "case": None})
    meeting.run(TELL_S + 1.0)
    assert meeting.changed == [meeting.session.folder]
    # What a patient takes back is told at once.
    meeting.recorder.hand_over()
    meeting.run(0.5)
    assert meeting.changed == 2 * [meeting.session.folder]
    meeting.run(TELL_S + 1.0)
    assert len(meeting.changed) == 2
