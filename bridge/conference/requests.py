"""What each client message does to a room: a method per message, found by the message's type."""

from collections.abc import Callable, Mapping
from typing import Any

from bridge import messages
from bridge.base.errors import Refused
from bridge.base.words import Role, Source
from bridge.conference import roles
from bridge.conference.participants import CloseCode, LeaveReason, Participant
from bridge.conference.room import Room
from bridge.store.journal import EventKind


def handle(room: Room, participant: Participant, message: messages.ClientMessage) -> None:
    """Carry out what the participant asks for; raises Refused or NegotiationFailed."""
    if participant.id in room.lobby and not isinstance(message, messages.Leave):
        raise Refused("not-joined", "wait until a moderator has admitted you")
    handler = _HANDLERS.get(type(message))
    if handler is None:
        raise Refused("refused", "joined already")
    handler(room, participant, message)


def _moderator(participant: Participant) -> None:
    if not participant.may_moderate:
        raise Refused("not-permitted", "only the chair and the secretary may do this")


def _offer(room: Room, participant: Participant, message: messages.Offer) -> None:
    answer = participant.negotiate(message.sdp, message.publications, message.slots, replace=message.replace)
    # The answer goes first: `slots` speaks of mids that it confirms.
    participant.send(messages.Answer(message.id, answer))
    room.sight.show_all(participant)
    participant.tell_slots()


def _view(room: Room, participant: Participant, message: messages.View) -> None:
    if message.heights is not None:
        participant.want(message.heights)
    if message.thumbnails is not None and message.thumbnails != participant.window:
        participant.window = message.thumbnails
        room.sight.show_thumbnails(participant)
        participant.tell_slots()


def _mute(room: Room, participant: Participant, message: messages.Mute) -> None:
    if not participant.may_publish and not message.muted:
        raise Refused("not-permitted", "you need the floor to publish")
    if participant.set_muted(message.source, message.muted):
        room.sending_changed(participant)


def _hand(room: Room, participant: Participant, message: messages.RaiseHand) -> None:
    room.set_hand(participant, message.raised)


def _chat(room: Room, participant: Participant, message: messages.SendChat) -> None:
    room.say(participant, message.text)


def _stage(room: Room, participant: Participant, message: messages.ChooseStage) -> None:
    _moderator(participant)
    target = None if message.participant is None else room.participant(message.participant)
    room.sight.choose_stage(target)


def _show_content(room: Room, participant: Participant, message: messages.ShowContent) -> None:
    _moderator(participant)
    target = None if message.participant is None else room.participant(message.participant)
    room.sight.choose_content(target, message.source)


def _mute_participant(room: Room, participant: Participant, message: messages.MuteParticipant) -> None:
    _moderator(participant)
    _mute_other(room, room.participant(message.participant), message.source, participant)


def _mute_all(room: Room, participant: Participant, _: messages.MuteAll) -> None:
    _moderator(participant)
    for other in list(room.participants.values()):
        if other is not participant and not other.may_moderate:
            _mute_other(room, other, Source.MICROPHONE, participant)


def _mute_other(room: Room, target: Participant, source: Source, by: Participant) -> None:
    if target.set_muted(source, True):
        target.send(messages.Muted(source, by.id))
        room.sending_changed(target)


def _lower_hand(room: Room, participant: Participant, message: messages.LowerHand) -> None:
    _moderator(participant)
    room.set_hand(room.participant(message.participant), False)


def _floor(room: Room, participant: Participant, message: messages.GiveFloor) -> None:
    _moderator(participant)
    target = room.participant(message.participant)
    if target.role in (Role.CHAIR, Role.SECRETARY):
        raise Refused("not-permitted", "moderators always have the floor")
    if target.may_publish != message.granted:
        target.set_may_publish(message.granted)
        target.send(messages.Floor(message.granted))
        data = {"participant": target.id, "granted": message.granted, "by": participant.id}
        room.proceedings.note(EventKind.FLOOR, data)
        room.sending_changed(target)
    if message.granted:
        room.set_hand(target, False)


def _remove(room: Room, participant: Participant, message: messages.Remove) -> None:
    _moderator(participant)
    target = room.participant(message.participant)
    if not roles.may_act_on(participant.role, target.role):
        raise Refused("not-permitted", "nobody may remove a chair")
    room.remove(target, by=participant)


def _lock(room: Room, participant: Participant, message: messages.Lock) -> None:
    _moderator(participant)
    room.set_locked(message.locked)


def _admit(room: Room, participant: Participant, message: messages.Admit) -> None:
    _moderator(participant)
    guest = room.lobby.get(message.participant)
    if guest is None:
        raise Refused("unknown-participant", "nobody of this id is waiting")
    if message.admitted:
        room.admit(guest)
    else:
        room.turn_away(guest)


def _add_case(room: Room, participant: Participant, message: messages.AddCase) -> None:
    _moderator(participant)
    site = None if message.participant is None else room.participant(message.participant).site
    room.proceedings.add_case(message.code, site, by=participant)


def _remove_case(room: Room, participant: Participant, message: messages.RemoveCase) -> None:
    _moderator(participant)
    room.proceedings.remove_case(message.case, by=participant)


def _start_case(room: Room, participant: Participant, message: messages.StartCase) -> None:
    _moderator(participant)
    room.proceedings.start_case(message.case, by=participant)


def _finish_case(room: Room, participant: Participant, message: messages.FinishCase) -> None:
    _moderator(participant)
    room.proceedings.finish_case(message.case, by=participant)


def _consent(room: Room, participant: Participant, message: messages.StateConsent) -> None:
    _moderator(participant)
    room.proceedings.state_consent(message.case, message.state, by=participant)


def _record(room: Room, participant: Participant, message: messages.Record) -> None:
    _moderator(participant)
    room.proceedings.control(message.action, by=participant)


def _leave(room: Room, participant: Participant, _: messages.Leave) -> None:
    room.leave(participant, LeaveReason.LEFT, CloseCode.LEFT)


_HANDLERS: Mapping[type, Callable[[Room, Participant, Any], None]] = {
    messages.Offer: _offer,
    messages.View: _view,
    messages.Mute: _mute,
    messages.RaiseHand: _hand,
    messages.SendChat: _chat,
    messages.ChooseStage: _stage,
    messages.ShowContent: _show_content,
    messages.MuteParticipant: _mute_participant,
    messages.MuteAll: _mute_all,
    messages.LowerHand: _lower_hand,
    messages.GiveFloor: _floor,
    messages.Remove: _remove,
    messages.Lock: _lock,
    messages.Admit: _admit,
    messages.AddCase: _add_case,
    messages.RemoveCase: _remove_case,
    messages.StartCase: _start_case,
    messages.FinishCase: _finish_case,
    messages.StateConsent: _consent,
    messages.Record: _record,
    messages.Leave: _leave,
}
