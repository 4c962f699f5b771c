"""What is shared when cases begin and end: shown and recorded again only when somebody says so."""

import pytest

from bridge.base.errors import Refused
from bridge.base.words import ConsentState, RecordingPolicy, Role, Source
from bridge.conference.participants import CloseCode, LeaveReason, Participant
from bridge.messages import (
    AddCase,
    ContentChange,
    FinishCase,
    Mute,
    MuteParticipant,
    ShowContent,
    StartCase,
    StateConsent,
)
from bridge.store.journal import EventKind
from bridge.tokens import Claims
from tests.unit.conference import Conference, channel, leg
from tests.unit.fake_record import CAPTURE_OFF, CAPTURE_ON, CUT, FakeRecord
from tests.unit.test_rooms_recording import POLICIES

CONTENT, AUXILIARY = Source.CONTENT, Source.AUXILIARY


class Cases(Conference):
    """A chair, two cases with consent, and a presenter."""

    def __init__(self, record: FakeRecord | None = None) -> None:
        self.record = record or FakeRecord()
        super().__init__(open_record=self.record.open, policies=POLICIES)
        self.chair = self.enter(Role.CHAIR)
        self.presenter = self.enter(Role.PRESENTER)

    def prepare(self) -> None:
        for number, code in enumerate(("BN-A", "BN-B"), 1):
            self.ask(self.chair, AddCase(code))
            self.ask(self.chair, StateConsent(f"C{number:02}", ConsentState.GRANTED))

    def start(self, case: str) -> None:
        self.ask(self.chair, StartCase(case))

    @property
    def shown(self) -> tuple[str, Source] | None:
        content = self.room.sight.content
        return None if content is None else (content.participant, content.source)

    def page(self, claims: Claims, *, shares: Source | None) -> Participant:
        """Come in as the page does, which says of each source whether it is switched on."""
        participant = self.enter(Role.PRESENTER, claims=claims)
        for source in (CONTENT, AUXILIARY):
            self.ask(participant, Mute(source, source is not shares))
        if shares is not None:
            leg(participant).send(shares)
        return participant


@pytest.fixture
def conference() -> Cases:
    conference = Cases()
    conference.prepare()
    conference.start("C01")
    return conference


@pytest.mark.parametrize("source", [CONTENT, AUXILIARY])
def test_what_is_shared_in_one_case_is_not_shown_or_recorded_in_the_next(
    conference: Cases, source: Source
) -> None:
    presenter = conference.presenter
    leg(presenter).send(source)
    assert conference.shown == (presenter.id, source)
    channel(presenter).take()
    conference.record.take()
    conference.start("C02")
    assert conference.shown is None
    assert channel(presenter).of(ContentChange) == [ContentChange(None, None, True)]
    # It is off show before the next case begins, and left out before anything of that is captured.
    assert conference.record.take() == [
        f"withhold {source}",
        "content",
        CAPTURE_OFF,
        "case-finished",
        "case-started",
        "recording-state recording",
        CUT,
        CAPTURE_ON,
    ]
    conference.pass_time(60, step=1)
    assert conference.shown is None
    assert conference.record.withheld == {(presenter.id, source)}


def test_it_goes_off_show_when_a_case_ends_too_and_when_the_first_begins() -> None:
    conference = Cases()
    conference.prepare()
    leg(conference.presenter).send(CONTENT)
    conference.start("C01")
    assert conference.shown is None
    conference.ask(conference.chair, ShowContent(conference.presenter.id))
    assert conference.shown is not None
    conference.ask(conference.chair, FinishCase("C01"))
    assert conference.shown is None


def test_a_request_that_is_refused_takes_nothing_off_show(conference: Cases) -> None:
    leg(conference.presenter).send(CONTENT)
    for request in (StartCase("C01"), FinishCase("C02"), StartCase("C09")):
        with pytest.raises(Refused):
            conference.ask(conference.chair, request)
    assert conference.shown is not None


def test_its_owner_shares_it_anew(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    conference.start("C02")
    conference.ask(presenter, Mute(CONTENT, True))
    assert conference.record.withheld == set()
    conference.ask(presenter, Mute(CONTENT, False))
    assert conference.shown == (presenter.id, CONTENT)
    assert conference.record.of(EventKind.CONTENT)[-1] == {"participant": presenter.id, "source": "content"}


def test_a_moderator_says_that_it_is_to_be_shown(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    leg(presenter).send(AUXILIARY)
    conference.start("C02")
    # To follow the newest share confirms nothing.
    conference.ask(conference.chair, ShowContent(None))
    assert conference.shown is None
    conference.ask(conference.chair, ShowContent(presenter.id, AUXILIARY))
    assert conference.shown == (presenter.id, AUXILIARY)
    assert conference.record.withheld == {(presenter.id, CONTENT)}
    conference.ask(conference.chair, FinishCase("C02"))
    assert conference.shown is None


def test_what_is_shared_newly_in_a_case_is_shown_at_once(conference: Cases) -> None:
    leg(conference.presenter).send(CONTENT)
    conference.start("C02")
    other = conference.enter(Role.EXPERT)
    leg(other).send(CONTENT)
    assert conference.shown == (other.id, CONTENT)


def test_a_share_that_a_moderator_mutes_is_ended(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    conference.start("C02")
    conference.ask(conference.chair, MuteParticipant(presenter.id, CONTENT))
    conference.ask(presenter, Mute(CONTENT, False))
    assert conference.shown == (presenter.id, CONTENT)


def test_a_line_that_breaks_does_not_bring_it_back(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    conference.start("C02")
    leg(presenter).send(CONTENT, False)
    leg(presenter).send(CONTENT)
    assert conference.shown is None
    conference.offer(presenter, replace=True)
    leg(presenter).send(CONTENT)
    assert conference.shown is None
    assert conference.record.withheld == {(presenter.id, CONTENT)}


def test_what_does_not_arrive_just_now_is_off_show_when_it_does_again(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    leg(presenter).send(CONTENT, False)
    assert conference.shown is None
    conference.start("C02")
    leg(presenter).send(CONTENT)
    assert conference.shown is None
    assert conference.record.withheld == {(presenter.id, CONTENT)}


@pytest.mark.parametrize("leaves_first", [False, True])
def test_who_was_away_for_long_and_comes_back_sharing_shows_nothing(
    conference: Cases, leaves_first: bool
) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    if leaves_first:
        conference.room.leave(presenter, LeaveReason.DISCONNECTED, CloseCode.LEFT)
    conference.start("C02")
    if not leaves_first:
        conference.room.leave(presenter, LeaveReason.DISCONNECTED, CloseCode.LEFT)
    # Another page with the same link that shares nothing does not speak for it.
    conference.page(presenter.claims, shares=None)
    back = conference.page(presenter.claims, shares=CONTENT)
    assert conference.shown is None
    assert conference.record.withheld == {(back.id, CONTENT)}
    conference.ask(back, Mute(CONTENT, True))
    conference.ask(back, Mute(CONTENT, False))
    assert conference.shown == (back.id, CONTENT)


def test_who_comes_back_within_the_same_case_goes_on_sharing(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    conference.room.leave(presenter, LeaveReason.DISCONNECTED, CloseCode.LEFT)
    back = conference.page(presenter.claims, shares=CONTENT)
    assert conference.shown == (back.id, CONTENT)


def test_what_has_begun_but_not_arrived_when_the_next_case_begins_is_off_show(conference: Cases) -> None:
    presenter = conference.page(conference.presenter.claims, shares=None)
    conference.ask(presenter, Mute(CONTENT, False))
    conference.start("C02")
    leg(presenter).send(CONTENT)
    assert conference.shown is None
    assert conference.record.withheld == {(presenter.id, CONTENT)}
    conference.ask(presenter, Mute(CONTENT, True))
    conference.ask(presenter, Mute(CONTENT, False))
    assert conference.shown == (presenter.id, CONTENT)


def test_who_comes_back_sharing_just_before_the_next_case_shows_nothing_in_it(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    conference.room.leave(presenter, LeaveReason.DISCONNECTED, CloseCode.LEFT)
    back = conference.enter(Role.PRESENTER, claims=presenter.claims)
    conference.ask(back, Mute(CONTENT, False))
    conference.start("C02")
    leg(back).send(CONTENT)
    assert conference.shown is None
    assert conference.record.withheld == {(back.id, CONTENT)}


def test_a_page_that_is_loaded_anew_shares_anew(conference: Cases) -> None:
    presenter = conference.presenter
    leg(presenter).send(CONTENT)
    conference.start("C02")
    conference.room.leave(presenter, LeaveReason.LEFT, CloseCode.LEFT)
    back = conference.page(presenter.claims, shares=None)
    conference.ask(back, Mute(CONTENT, False))
    leg(back).send(CONTENT)
    assert conference.shown == (back.id, CONTENT)


def test_after_a_restart_within_a_case_nothing_is_shown_by_itself(conference: Cases) -> None:
    leg(conference.presenter).send(CONTENT)
    conference.start("C02")
    record = FakeRecord(restored=conference.record.journal())
    after = Cases(record)
    back = after.page(conference.presenter.claims, shares=CONTENT)
    assert after.shown is None
    assert (back.id, CONTENT) in record.withheld
    after.ask(after.chair, ShowContent(back.id))
    assert after.shown == (back.id, CONTENT)
    assert (back.id, CONTENT) not in record.withheld


@pytest.mark.parametrize("source", [CONTENT, AUXILIARY])
def test_what_was_off_show_between_cases_is_so_after_a_restart(conference: Cases, source: Source) -> None:
    leg(conference.presenter).send(source)
    conference.ask(conference.chair, FinishCase("C01"))
    record = FakeRecord(restored=conference.record.journal())
    after = Cases(record)
    back = after.page(conference.presenter.claims, shares=source)
    assert after.shown is None
    assert (back.id, source) in record.withheld
    after.ask(back, Mute(source, True))
    after.ask(back, Mute(source, False))
    assert after.shown == (back.id, source)
    assert (back.id, source) not in record.withheld


@pytest.mark.parametrize("case", ["C01", "C02"])
def test_what_has_not_arrived_again_after_a_restart_is_off_show_in_the_next_case(case: str) -> None:
    before = Cases()
    before.prepare()
    leg(before.presenter).send(CONTENT)
    if case == "C02":
        before.start("C01")
        before.ask(before.chair, FinishCase("C01"))
    record = FakeRecord(restored=before.record.journal())
    after = Cases(record)
    back = after.enter(Role.PRESENTER, claims=before.presenter.claims)
    after.ask(back, Mute(CONTENT, False))
    after.start(case)
    leg(back).send(CONTENT)
    assert after.shown is None
    assert (back.id, CONTENT) in record.withheld


def test_what_was_shown_anew_after_a_restart_comes_back_when_its_line_breaks(conference: Cases) -> None:
    leg(conference.presenter).send(AUXILIARY)
    record = FakeRecord(restored=conference.record.journal())
    after = Cases(record)
    back = after.page(conference.presenter.claims, shares=AUXILIARY)
    after.ask(after.chair, ShowContent(back.id))
    after.room.leave(back, LeaveReason.DISCONNECTED, CloseCode.LEFT)
    again = after.page(conference.presenter.claims, shares=AUXILIARY)
    assert after.shown == (again.id, AUXILIARY)
    assert (again.id, AUXILIARY) not in record.withheld


@pytest.mark.parametrize("had_restart", [False, True])
def test_who_comes_back_only_after_the_first_case_has_begun_shows_nothing_in_it(had_restart: bool) -> None:
    before = Cases()
    before.prepare()
    old = before.page(before.presenter.claims, shares=CONTENT)
    after = Cases(FakeRecord(restored=before.record.journal())) if had_restart else before
    if not had_restart:
        before.room.leave(old, LeaveReason.DISCONNECTED, CloseCode.LEFT)
    after.start("C01")
    back = after.page(before.presenter.claims, shares=CONTENT)
    assert after.shown is None
    assert (back.id, CONTENT) in after.record.withheld


def test_before_the_first_case_a_share_goes_on_after_a_restart() -> None:
    before = Cases()
    before.prepare()
    leg(before.presenter).send(CONTENT)
    after = Cases(FakeRecord(restored=before.record.journal()))
    back = after.page(before.presenter.claims, shares=CONTENT)
    assert after.shown == (back.id, CONTENT)


def test_it_is_off_show_where_nothing_is_recorded_as_well() -> None:
    conference = Conference(policies=dict.fromkeys(POLICIES, RecordingPolicy.OFF))
    chair, presenter = conference.enter(Role.CHAIR), conference.enter(Role.PRESENTER)
    leg(presenter).send(CONTENT)
    conference.ask(chair, AddCase("BN-A"))
    conference.ask(chair, StartCase("C01"))
    assert conference.room.sight.content is None


def test_who_has_gone_is_remembered_within_bounds(conference: Cases, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.conference.standing.REMEMBERED_MAX", 10)
    for _ in range(30):
        guest = conference.enter(Role.EXPERT)
        leg(guest).send(CONTENT)
        conference.room.leave(guest, LeaveReason.LEFT, CloseCode.LEFT)
    conference.start("C02")
    shares = conference.room.sight._shares
    assert len(shares._left) == 10
    assert shares._unended == shares._ended == shares._withheld == set()
