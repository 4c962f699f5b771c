"""What each client message does to a room: a function per message, found by the message's type.

Two tables say who may ask: everybody in the room, or only those who may moderate.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bridge import messages
from bridge.base.errors import Refused
from bridge.base.words import Role, Source
from bridge.conference import roles
from bridge.conference.participants import CloseCode, LeaveReason, Participant
from bridge.conference.room import Room


def handle(room: Room, participant: Participant, message: messages.ClientMessage) -> None:
    """Carry out what the participant asks for; raises Refused or NegotiationFailed."""
    if isinstance(message, messages.Leave):
        room.leave(participant, LeaveReason.LEFT, CloseCode.LEFT)
        return
    # Frames of a socket that is being closed still arrive: who has gone is not in the room either.
    if participant.id not in room.participants:
        raise Refused("not-joined", "you are not in the room, or a moderator has yet to admit you")
    if type(message) in FOR_MODERATORS and not participant.may_moderate:
        raise Refused("not-permitted", "only the chair and the secretary may do this")
    handler = FOR_ALL.get(type(message)) or FOR_MODERATORS.get(type(message))
    if handler is None:
        raise Refused("refused", "joined already")
    handler(room, participant, message)


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


def _interrupt(room: Room, participant: Participant, message: messages.Interrupt) -> None:
    room.set_interrupted(participant, message.source, message.interrupted)


def _condition(room: Room, participant: Participant, message: messages.Condition) -> None:
    room.conditions.told(participant.id, message)


def _hand(room: Room, participant: Participant, message: messages.RaiseHand) -> None:
    room.set_hand(participant, message.raised)


def _chat(room: Room, participant: Participant, message: messages.SendChat) -> None:
    room.say(participant, message.text)


def _stage(room: Room, participant: Participant, message: messages.ChooseStage) -> None:
    target = None if message.participant is None else room.participant(message.participant)
    room.choose_stage(target, by=participant)


def _show_content(room: Room, participant: Participant, message: messages.ShowContent) -> None:
    target = None if message.participant is None else room.participant(message.participant)
    room.sight.choose_content(target, message.source, participant.id)


def _mute_participant(room: Room, participant: Participant, message: messages.MuteParticipant) -> None:
    room.mute(room.participant(message.participant), message.source, by=participant)


def _mute_all(room: Room, participant: Participant, _: messages.MuteAll) -> None:
    for other in list(room.participants.values()):
        # A device could not unmute itself; whose sound disturbs is muted by itself.
        if other is not participant and not other.may_moderate and not other.is_device:
            room.mute(other, Source.MICROPHONE, by=participant)


def _lower_hand(room: Room, participant: Participant, message: messages.LowerHand) -> None:
    room.set_hand(room.participant(message.participant), False, by=participant)


def _floor(room: Room, participant: Participant, message: messages.GiveFloor) -> None:
    target = room.participant(message.participant)
    if target.role in (Role.CHAIR, Role.SECRETARY):
        raise Refused("not-permitted", "moderators always have the floor")
    room.set_floor(target, message.granted, by=participant)


def _remove(room: Room, participant: Participant, message: messages.Remove) -> None:
    target = room.participant(message.participant)
    if not roles.may_act_on(participant.role, target.role):
        raise Refused("not-permitted", "only a chair may remove a chair")
    room.remove(target, by=participant)


def _lock(room: Room, participant: Participant, message: messages.Lock) -> None:
    room.set_locked(message.locked, by=participant)


def _admit(room: Room, participant: Participant, message: messages.Admit) -> None:
    guest = room.lobby.guests.get(message.participant)
    if guest is None:
        raise Refused("unknown-participant", "nobody of this id is waiting")
    if message.admitted:
        room.admit(guest, by=participant)
    else:
        room.turn_away(guest, by=participant)


def _add_case(room: Room, participant: Participant, message: messages.AddCase) -> None:
    site = None if message.participant is None else room.participant(message.participant).site
    room.proceedings.add_case(message.code, site, by=participant)


def _remove_case(room: Room, participant: Participant, message: messages.RemoveCase) -> None:
    room.proceedings.remove_case(message.case, by=participant)


def _start_case(room: Room, participant: Participant, message: messages.StartCase) -> None:
    room.proceedings.start_case(message.case, by=participant)


def _finish_case(room: Room, participant: Participant, message: messages.FinishCase) -> None:
    room.proceedings.finish_case(message.case, by=participant)


def _confirm_case(room: Room, participant: Participant, message: messages.ConfirmCase) -> None:
    room.proceedings.confirm_case(message.case, message.code, by=participant)


def _consent(room: Room, participant: Participant, message: messages.StateConsent) -> None:
    room.proceedings.state_consent(message.case, message.state, by=participant)


def _record(room: Room, participant: Participant, message: messages.Record) -> None:
    room.proceedings.control(message.action, by=participant)


Handler = Callable[[Room, Participant, Any], None]

FOR_ALL: Mapping[type, Handler] = {
    messages.Offer: _offer,
    messages.View: _view,
    messages.Mute: _mute,
    messages.Interrupt: _interrupt,
    messages.Condition: _condition,
    messages.RaiseHand: _hand,
    messages.SendChat: _chat,
}
FOR_MODERATORS: Mapping[type, Handler] = {
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
    messages.ConfirmCase: _confirm_case,
    messages.StateConsent: _consent,
    messages.Record: _record,
}
