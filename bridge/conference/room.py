"""A room: who is in, who waits, who may what, and what everybody is told. Policy; never sees RTP.

`Room` owns its participants, its proceedings and the router of its media; closing runs down that tree.
What a client asks for is in `requests`, who sees what in `sight`, the listing in `roster`, cases and
recording in `proceedings`. Nothing here awaits: all of it runs on
the event loop's thread, and what is due later is done by `poll`.
"""

import hmac
import logging
import secrets
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from bridge import messages
from bridge.base.counters import SessionCounters
from bridge.base.errors import NegotiationFailed, Refused
from bridge.base.names import tidy_name
from bridge.base.words import ConferenceKind, RecordingPolicy, Source, Weakness
from bridge.conference.attendance import Attendance
from bridge.conference.conditions import SiteConditions
from bridge.conference.holders import Holders
from bridge.conference.leading import CASE_LEFT_S
from bridge.conference.lobby import LOBBY_MAX, Lobby
from bridge.conference.participants import BEAT_S, Channel, CloseCode, LeaveReason, Participant
from bridge.conference.places import Places
from bridge.conference.proceedings import Proceedings
from bridge.conference.record import OpenRecord, record_nothing
from bridge.conference.roster import Roster
from bridge.conference.rounds import Rounds
from bridge.conference.shares import Shares
from bridge.conference.sight import Sight
from bridge.conference.speaking import Speaking
from bridge.conference.standing import Standing, remember
from bridge.messages import BridgeMessage, ChatLine, IceServer, write_object
from bridge.store.journal import EventKind
from bridge.tokens import Claims, TokenKind, Tokens

if TYPE_CHECKING:
    from bridge.sfu import Router

logger = logging.getLogger(__name__)

# Time-outs, tokens and quality are looked at less often than thumbnails.
ROUND_EVERY_S = 0.5
# Guests let in together in one tick, as each of them is work of a millisecond or so.
LET_IN_SLICE = 64


def no_ice_servers(holder: str) -> Iterable[IceServer]:
    """The relays of a node that has none, for whichever link."""
    return ()


class Room:
    """The live side of one conference."""

    def __init__(
        self,
        room_id: str,
        title: str,
        *,
        router: "Callable[[Room], Router]",
        tokens: Tokens,
        counters: SessionCounters,
        clock: Callable[[], float],
        wall_clock: Callable[[], float],
        capacity: int,
        per_link: int,
        wait_for_chair: bool = False,
        case_left_s: float = CASE_LEFT_S,
        kind: ConferenceKind = ConferenceKind.CONSULTATION,
        ice_servers: Callable[[str], Iterable[IceServer]] = no_ice_servers,
        policies: Mapping[ConferenceKind, RecordingPolicy] = MappingProxyType({}),
        open_record: OpenRecord = record_nothing,
    ) -> None:
        # Passed by argument.
        self.id = room_id
        self.title = title
        self._tokens = tokens
        self._counters = counters
        self._clock = clock
        self._wall_clock = wall_clock
        # Allocated by this.
        self.participants: dict[str, Participant] = {}
        self.is_closed = False
        self.router = router(self)
        self.proceedings = Proceedings(
            room_id,
            title,
            kind=kind,
            policies=policies,
            router=self.router,
            open_record=open_record,
            audience=self,
            case_left_s=case_left_s,
            clock=clock,
            wall_clock=wall_clock,
        )
        # What an interrupted session left behind.
        standing = Standing(self.proceedings.restored)
        self._attendance = Attendance(clock(), standing)
        self.lobby = Lobby(
            standing, wait_for_chair=wait_for_chair, places=max(LOBBY_MAX, capacity * wait_for_chair)
        )
        shares = Shares(
            self.proceedings.withhold,
            is_resumed=bool(self.proceedings.restored),
            had_case=self.proceedings.had_case,
        )
        self.sight = Sight(self.participants, self.broadcast, self.proceedings.note, shares)
        self._roster = Roster()
        self.conditions = SiteConditions(counters)
        self._rounds = Rounds(self.participants, self, tokens=tokens, ice_servers=ice_servers)
        self._holders = Holders()
        self._places = Places(
            self.participants, self._holders, self.lobby, capacity=capacity, per_link=per_link
        )
        self._chat = deque(map(write_object, standing.chat), maxlen=messages.CHAT_KEPT)
        # By link: to whom a moderator gave the floor, and from whom it was taken.
        self._floors = standing.floors
        # The link that was on stage before a restart, until it is back or somebody else is chosen.
        self._awaited_on_stage = standing.on_stage
        self._order = 0
        self._hands = 0
        self._speaking = Speaking(self.participants.__contains__, self._dominant_id)
        self._are_more_passing = False
        self._next_round_at = 0.0
        self._voices_shown_changed: set[Participant] = set()

    @property
    def kind(self) -> ConferenceKind:
        """What the conference is for."""
        return self.proceedings.kind

    @property
    def empty_since(self) -> float | None:
        """Since when all people have gone; None while there are some, or somebody waits for the first."""
        return self._attendance.empty_since(is_awaited=bool(self.participants or self.lobby.guests))

    @property
    def is_prepared(self) -> bool:
        """Whether there is a list of cases for a conference that nobody has come to but its moderators."""
        return self.proceedings.is_prepared and not self._attendance.was_held

    # Coming in.

    def join(
        self,
        claims: Claims,
        name: str,
        channel: Channel,
        resume: messages.ResumeRequest | None = None,
        *,
        page: str = "",
    ) -> Participant:
        """Let somebody in, back in, or wait; the channel is told which. Raises Refused or InvalidMessage.

        A name in the link is binding; without one, the person's own word is taken, and shown as such.
        `page` is the tab's own word: one that crashed does not stand beside what is left of it.
        """
        returning = self._returning(claims, resume)
        if returning is not None:
            self._resume(returning, channel)
            return returning
        name = claims.name or tidy_name(name)
        former = self._holders.left_by(claims.id, page)
        if former is not None:
            self.leave(former, LeaveReason.DISCONNECTED, CloseCode.LEFT)
        ghost = self._give_place(claims)
        if ghost is not None:
            self.leave(ghost, LeaveReason.DISCONNECTED, CloseCode.LEFT)
        participant = self._new_participant(claims, name, channel)
        participant.page = page
        if self.lobby.reason_to_wait(participant) is not None:
            self._let_wait(participant)
        else:
            self._let_in(participant)
        return participant

    def join_device(self, claims: Claims, sdp: str, watch: bool) -> tuple[Participant, str]:
        """Let a WHIP (or, with `watch`, WHEP) client in; return it with the answer to its offer.

        Raises Refused or NegotiationFailed. A device has no control channel: it leaves when its
        leg closes, or when the caller says so, and where others wait in the lobby it is to ask again.
        """
        ghost = None if watch else next((one for one in self._holders.of(claims.id) if one.is_device), None)
        if ghost is not None:
            # The encoder died without a word, or was started anew: it is the same participant as before.
            answer = ghost.negotiate(sdp, replace=True)
            self.sight.sending_changed(ghost)
            return ghost, answer
        ghost = self._give_place(claims)
        name = claims.name or claims.site[:80]
        participant = self._new_participant(claims, name, None, may_publish=not watch)
        if self.lobby.reason_to_wait(participant) is not None:
            self.lobby.put(participant, self._clock())
            self.lobby.changed()
            raise Refused("room-locked", "a moderator has to let this device in: ask again in a moment")
        try:
            answer = participant.negotiate(sdp)
        except NegotiationFailed:
            participant.is_gone = True
            raise
        if ghost is not None:
            self.leave(ghost, LeaveReason.DISCONNECTED, CloseCode.LEFT)
        self._let_in(participant)
        self.sight.sending_changed(participant)
        self.sight.show_all(participant)
        return participant, answer

    def _give_place(self, claims: Claims) -> Participant | None:
        if self.is_closed:
            raise Refused("refused", "the room has closed")
        return self._places.give(claims)

    def holders(self, link: str) -> tuple[Participant, ...]:
        """Return who is in the room with this link."""
        return self._holders.of(link)

    def _new_participant(
        self, claims: Claims, name: str, channel: Channel | None, may_publish: bool | None = None
    ) -> Participant:
        self._order += 1
        participant = Participant(
            participant_id=f"p-{secrets.token_hex(4)}",
            claims=claims,
            name=name,
            order=self._order,
            joined_at=self._clock(),
            room=self,
            channel=channel,
            may_publish=may_publish,
        )
        granted = self._floors.get(claims.id)
        if granted is not None and not participant.may_moderate and claims.kind is not TokenKind.WATCH:
            participant.set_may_publish(granted)
        return participant

    def _let_in(self, participant: Participant) -> None:
        now = self._clock()
        # Before the newcomer hears of the room, so that its welcome says whether it is recorded.
        self.proceedings.participant_joined(participant)
        self.participants[participant.id] = participant
        self._attendance.came(participant)
        self.sight.participant_came(participant)
        self._counters.joins += 1
        for other in self._holders.add(participant):
            self._roster.update(other)
        self._roster.update(participant)
        # However long it waited in the lobby.
        participant.joined_at = now
        self._rounds.begin(participant, now)
        self._welcome(participant, is_resumed=False)
        logger.info("room %s: %s joined as %s", self.id, participant.id, participant.role)
        if participant.claims.id == self._awaited_on_stage:
            self.choose_stage(participant, by=None)
        if participant.leads:
            self.lobby.chair_has_come()
            self._let_in_who_may_pass()

    def _welcome(self, participant: Participant, *, is_resumed: bool) -> None:
        if participant.channel is None:
            return
        welcome = messages.Welcome(
            version=messages.PROTOCOL_VERSION,
            participant=participant.id,
            resume=messages.ResumeTicket(participant.secret, messages.RESUME_WINDOW_S),
            role=participant.role,
            room=messages.RoomState(
                self.id,
                self.title,
                self.lobby.is_locked,
                self.sight.stage,
                self.sight.content,
                self.proceedings.status,
            ),
            roster=(),
            count=len(self.participants),
            chat=(),
            thumbnails_max=messages.THUMBNAILS_MAX,
            resumed=is_resumed,
            may_publish=participant.may_publish,
            link_in_use=len(self._holders.of(participant.claims.id)) - 1,
            beat_s=BEAT_S,
            muted=participant.muted_by_moderators,
            waiting=self.lobby.listed() if participant.may_moderate else None,
            cases=self.proceedings.cases if participant.may_moderate else None,
        )
        # What everybody is told is written once, and not for each newcomer.
        chat = f"[{','.join(self._chat)}]"
        text = messages.serialise(welcome, roster=self._roster.serialised(), chat=chat)
        participant.channel.send(text)
        speakers = self._speaking.now()
        if is_resumed or speakers.voices or speakers.dominant:
            participant.send(speakers)
        conditions = self.conditions.everything() if participant.may_moderate else None
        if conditions is not None:
            participant.send(conditions)
        self._rounds.renew_token(participant, self._clock())

    def can_resume(self, claims: Claims, resume: messages.ResumeRequest | None) -> bool:
        """Whether this is somebody of the room who is back on a new socket."""
        return self._returning(claims, resume) is not None

    def _returning(self, claims: Claims, resume: messages.ResumeRequest | None) -> Participant | None:
        if resume is None:
            return None
        participant = self.participants.get(resume.participant)
        if participant is None or participant.is_device or participant.claims.id != claims.id:
            return None
        is_same = hmac.compare_digest(participant.secret.encode(), resume.secret.encode())
        return participant if is_same else None

    def _resume(self, participant: Participant, channel: Channel) -> None:
        earlier, participant.channel = participant.channel, channel
        if earlier is not None:
            earlier.close(CloseCode.RESUMED_ELSEWHERE, "resumed on another socket")
        if participant.absent_since is not None:
            participant.absent_since = None
            self.proceedings.line_back(participant)
        self._counters.resumes += 1
        self._roster.update(participant)
        self.sight.presence_changed(participant)
        self._welcome(participant, is_resumed=True)
        participant.tell_media_again()

    # The lobby.

    def _let_wait(self, participant: Participant) -> None:
        reason = self.lobby.reason_to_wait(participant)
        assert reason is not None
        self.lobby.put(participant, self._clock())
        participant.send(messages.Waiting(reason, BEAT_S))
        self.lobby.changed()

    def admit(self, guest: Participant, *, by: Participant) -> None:
        """Let somebody in from the lobby, a device at its next attempt; raises Refused when all is full."""
        self._places.check(guest.claims)
        self._note_admission(guest, True, by)
        self.lobby.admit(guest)
        if not guest.is_device:
            self._let_in(guest)
        self.lobby.changed()

    def turn_away(self, guest: Participant, *, by: Participant) -> None:
        """Send somebody in the lobby away."""
        self._note_admission(guest, False, by)
        self.lobby.turn_away(guest, self._clock())
        guest.send(messages.error_from(Refused("refused", "a moderator did not admit you"), request="join"))
        self.leave(guest, LeaveReason.NOT_ADMITTED, CloseCode.REFUSED)
        self.lobby.changed()

    def _note_admission(self, guest: Participant, admitted: bool, by: Participant) -> None:
        data = {"participant": guest.id, "link": guest.claims.id, "admitted": admitted, "by": by.id}
        self.proceedings.note(EventKind.ADMITTED, data)

    def set_locked(self, locked: bool, *, by: Participant) -> None:
        """Lock or unlock; unlocking lets in everybody who waited only for that."""
        if self.lobby.is_locked == locked:
            return
        self.lobby.set_locked(locked)
        self.proceedings.note(EventKind.LOCK, {"locked": locked, "by": by.id})
        self.broadcast(messages.Locked(locked))
        self._let_in_who_may_pass()

    def _let_in_who_may_pass(self) -> None:
        passing = [guest for guest in self.lobby.passing() if self._has_place(guest)]
        self._are_more_passing = len(passing) > LET_IN_SLICE
        for guest in passing[:LET_IN_SLICE]:
            # The one before it may have been the chair whom this one has to ask.
            may_pass = guest.id in self.lobby.guests and self.lobby.reason_to_wait(guest) is None
            if may_pass and self._has_place(guest):
                del self.lobby.guests[guest.id]
                if not guest.is_device:
                    self._let_in(guest)
        if passing:
            self.lobby.changed()

    def _has_place(self, guest: Participant) -> bool:
        return guest.is_device or self._places.are_for(guest.claims)

    # Going.

    def leave(self, participant: Participant, reason: LeaveReason, close_code: int) -> None:
        """Take somebody out of the room or of the lobby, leg and channel with it; harmless twice."""
        if participant.is_gone:
            return
        participant.is_gone = True
        was_in = self.participants.pop(participant.id, None) is not None
        was_waiting = self.lobby.guests.pop(participant.id, None) is not None
        self._voices_shown_changed.discard(participant)
        if was_in:
            self._counters.leaves[reason] = self._counters.leaves.get(reason, 0) + 1
            self._roster.remove(participant)
            self.conditions.forget(participant.id)
            for other in self._holders.remove(participant):
                self._roster.update(other)
            self.proceedings.participant_left(participant, reason)
            self.sight.participant_left(participant)
            logger.info("room %s: %s left: %s", self.id, participant.id, reason)
            # For who looks for a site that drops out again and again; names of sites are not in the log else.
            logger.debug("room %s: %s was %s", self.id, participant.id, participant.site)
        participant.close_leg(reason)
        if participant.channel is not None:
            participant.channel.close(close_code, reason)
            participant.channel = None
        if was_waiting:
            self.lobby.changed()
        self._attendance.left(self.participants.values(), self._clock())
        if was_in and participant.leads and not any(one.leads for one in self.participants.values()):
            self.lobby.moderators_have_gone()
            self._let_in_who_may_pass()

    def remove(self, participant: Participant, *, by: Participant) -> None:
        """Send somebody out, and all with the same link; whoever comes with it has to knock from now on."""
        link = participant.claims.id
        # Nobody locks themselves out: of one's own link only the one that was named goes.
        going = (participant,) if link == by.claims.id else self._holders.of(link)
        if link != by.claims.id:
            self.lobby.distrust(link)
        for one in going:
            data = {"participant": one.id, "link": link if link != by.claims.id else None, "by": by.id}
            self.proceedings.note(EventKind.REMOVED, data)
            one.send(messages.Removed(by.id))
            self.leave(one, LeaveReason.REMOVED, CloseCode.REMOVED)

    def expel_revoked(self) -> None:
        """Send out everybody whose link was revoked, from the lobby, too."""
        for participant in [*self.lobby.guests.values(), *self.participants.values()]:
            if self._tokens.is_revoked(participant.claims):
                refusal = Refused("revoked-link", "the link behind your token was revoked")
                participant.send(messages.error_from(refusal, request=""))
                self.leave(participant, LeaveReason.REVOKED, CloseCode.REVOKED)

    def channel_closed(self, participant: Participant, channel: Channel) -> None:
        """The participant's socket is gone; its place and its media are kept for the resume window."""
        if participant.channel is not channel:
            return
        participant.channel = None
        if participant.id in self.lobby.guests:
            self.leave(participant, LeaveReason.DISCONNECTED, CloseCode.LEFT)
        elif not participant.is_gone:
            participant.absent_since = self._clock()
            self.proceedings.line_lost(participant)
            self._roster.update(participant)
            self.sight.presence_changed(participant)

    def close(self, reason: str = "room-closed") -> None:
        """End the room: everybody leaves, then record and router close; harmless twice.

        With the reason "shutdown" the record is left to be gone on with after a restart of the server.
        """
        if self.is_closed:
            return
        self.is_closed = True
        for participant in [*self.lobby.guests.values(), *self.participants.values()]:
            try:
                self.leave(participant, LeaveReason.CLOSED, CloseCode.ROOM_CLOSED)
            except Exception:
                # A bug of ours: the others leave all the same, and the files are ended.
                logger.exception("room %s: %s could not leave in order", self.id, participant.id)
        try:
            self.proceedings.close(reason)
        finally:
            self.router.close()

    # What participants ask for and report.

    def participant(self, participant_id: str) -> Participant:
        """Return who has this id; raises Refused."""
        participant = self.participants.get(participant_id)
        if participant is None:
            raise Refused("unknown-participant", "nobody of this id is in the room")
        return participant

    def choose_stage(self, participant: Participant | None, *, by: Participant | None) -> None:
        """Put somebody on stage, or let the stage follow the speaker again."""
        self._awaited_on_stage = None
        self.sight.choose_stage(participant, by.id if by else None)

    def set_floor(self, target: Participant, granted: bool, *, by: Participant) -> None:
        """Let somebody publish, or nobody with its link any more.

        What is taken is taken from the link, however many pages it is on, and from whoever comes with it
        later. What is given to one page of several is not given to the others, nor to those who come.
        """
        link = target.claims.id
        holders = self._holders.of(link)
        is_for_link = not granted or len(holders) == 1
        if is_for_link:
            remember(self._floors, link, granted)
        for one in (target,) if granted else holders:
            if one.set_may_publish(granted):
                one.send(messages.Floor(granted))
                data = {"participant": one.id, "link": link if is_for_link else None}
                self.proceedings.note(EventKind.FLOOR, {**data, "granted": granted, "by": by.id})
                self.sending_changed(one)
        if granted:
            self.set_hand(target, False, by=by)
            return
        for guest in self.lobby.guests.values():
            if guest.claims.id == link:
                guest.set_may_publish(False)

    def mute(self, target: Participant, source: Source, *, by: Participant) -> None:
        """Mute a publication of somebody else, who may unmute it again."""
        if target.mute_by(source, by.id):
            data = {"participant": target.id, "source": source.value, "by": by.id}
            self.proceedings.note(EventKind.MUTED, data)
            target.send(messages.Muted(source, by.id))
            self.sending_changed(target)

    def set_hand(self, participant: Participant, raised: bool, *, by: Participant | None = None) -> None:
        """Raise or lower a hand; hands keep the order in which they were raised."""
        if raised == (participant.hand is not None):
            return
        if raised:
            self._hands += 1
        participant.hand = self._hands if raised else None
        data: dict[str, Any] = {"participant": participant.id, "raised": raised}
        if by is not None:
            data["by"] = by.id
        self.proceedings.note(EventKind.HAND, data)
        self._roster.update(participant)

    def say(self, participant: Participant, text: str) -> None:
        """Add a line to the chat."""
        at_ms = int(self._wall_clock() * 1000)
        line = ChatLine(participant.id, participant.name, participant.site, text, at_ms)
        self._chat.append(write_object(line))
        self.proceedings.chat(line)
        self.broadcast(messages.Chat(line.participant, line.name, line.site, line.text, line.at_ms))

    def sending_changed(self, participant: Participant) -> None:
        """What others can see or hear of the participant is no longer the same."""
        if participant.id not in self.participants:
            return
        self._roster.update(participant)
        self.sight.sending_changed(participant)

    def media_connected(self, participant: Participant) -> None:
        """Media can flow; the first time, this ends the join."""
        if not participant.has_connected:
            participant.has_connected = True
            self._counters.join_latency_s.observe(self._clock() - participant.joined_at)

    def media_lost(self, participant: Participant, cause: str) -> None:
        """The leg has ended: a page may bring a new one, a device leaves."""
        logger.info("room %s: media of %s ended: %s", self.id, participant.id, cause)
        if participant.is_device:
            reason = LeaveReason.MEDIA_LOST if participant.has_connected else LeaveReason.NEVER_CONNECTED
            self.leave(participant, reason, CloseCode.LEFT)

    def set_interrupted(self, participant: Participant, source: Source, interrupted: bool) -> None:
        """The participant's system has taken the device of a source away, or given it back."""
        if participant.set_interrupted(source, interrupted):
            self._roster.update(participant)

    def signal_changed(self, participant: Participant) -> None:
        """Nothing comes of the participant's media any more, or something does again."""
        if participant.id in self.participants:
            self._roster.update(participant)

    def note_weakness(self, participant: Participant, weakness: Weakness | None) -> None:
        """What is weak at a participant that does not say so itself: a device."""
        self.conditions.note(participant.id, weakness)

    def voices_shown_changed(self, participant: Participant) -> None:
        """Other voices are in the participant's slots; told with the next tick."""
        if participant.channel is not None:
            self._voices_shown_changed.add(participant)

    # What the router reports.

    def dominant_speaker_changed(self, leg_id: str | None) -> None:
        self._speaking.dominant_changed()
        self.sight.dominant_changed(self.participants.get(leg_id) if leg_id else None)

    def voices_changed(self, leg_ids: tuple[str, ...]) -> None:
        self._speaking.voices_changed(leg_ids)

    # What is told, and when.

    def broadcast(self, message: BridgeMessage) -> None:
        """Tell everybody in the room, serialised once."""
        text = messages.serialise(message)
        # A copy, as a reader found too slow may leave meanwhile.
        for participant in list(self.participants.values()):
            if participant.channel is not None:
                participant.channel.send(text)

    def tell_moderators(self, message: BridgeMessage) -> None:
        """Tell those who may moderate."""
        text = messages.serialise(message)
        for participant in list(self.participants.values()):
            if participant.may_moderate and participant.channel is not None:
                participant.channel.send(text)

    def case_changes(self) -> None:
        """A case is about to begin or to end."""
        self.sight.case_changed()

    def poll(self, now: float) -> None:
        """Do what is due by `now`."""
        self.sight.show_more()
        self.sight.refresh_thumbnails()
        # Taken first: a fault of ours met here is not to be met again in every tick.
        changed, self._voices_shown_changed = self._voices_shown_changed, set()
        for participant in changed:
            participant.tell_slots()
        if self._are_more_passing:
            self._let_in_who_may_pass()
        if self.lobby.take_news(now):
            self.tell_moderators(messages.Knock(self.lobby.listed()))
        speakers = self._speaking.take_news(now)
        if speakers is not None:
            self.broadcast(speakers)
            data = {"voices": list(speakers.voices), "dominant": speakers.dominant}
            self.proceedings.note(EventKind.SPEAKERS, data)
        conditions = self.conditions.take_news(now)
        if conditions is not None:
            self.tell_moderators(conditions)
        change = self._roster.flush(len(self.participants), now)
        if change is not None:
            self.broadcast(change)
        if now >= self._next_round_at:
            self._next_round_at = now + ROUND_EVERY_S
            self._rounds.go(self.lobby.guests.values(), now)
            self.proceedings.poll(now)
            if self._attendance.has_become_unattended(now):
                self.proceedings.nobody_attends()
            if self.lobby.forget_silent_devices(now):
                self.lobby.changed()

    def _dominant_id(self) -> str | None:
        dominant = self.sight.dominant
        return dominant.id if dominant else None
