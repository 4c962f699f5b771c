"""Who sees what: stage, content and thumbnails of a room, and the slots that show them.

Stage: whom a moderator chose, else whoever leads the conversation and has a camera. Whoever is on
stage sees somebody else there: the one who leads the conversation, else who was on stage before,
else the first of the camera list. Content: what a moderator chose, else the newest share of
those that may be shown (`shares`).
Thumbnails: a window of the room's camera list, chair first, without oneself.

Stage and content change at once, for the first viewers; in a room of a thousand the others follow
slice by slice, so that packets are forwarded between the slices. Thumbnails are re-shown by
`refresh_thumbnails`, a few times a second: when a whole room comes in within a minute, each viewer
is gone through once per round and not once per newcomer.
"""

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from bridge.base.errors import Refused
from bridge.base.words import SlotRole, Source
from bridge.conference import roles
from bridge.conference.participants import Participant
from bridge.conference.shares import Share, Shares
from bridge.messages import BridgeMessage, ContentChange, Picture, StageChange, StageMode, StageState
from bridge.store.journal import EventKind

if TYPE_CHECKING:
    from bridge.leg.publication import Publication

EARLIER_STAGES_KEPT = 4
# Viewers shown something in one go: a few milliseconds' work.
SLICE = 64


class CameraList:
    """The participants whose cameras can be seen: by rank, then by the order in which they joined."""

    def __init__(self) -> None:
        self._keys: list[tuple[int, int]] = []
        self._by_key: dict[tuple[int, int], Participant] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, participant: Participant, *, is_visible: bool) -> int | None:
        """Add or remove the participant; return the index that changed, or None if nothing did."""
        key = _place(participant)
        index = bisect_left(self._keys, key)
        if is_visible == (key in self._by_key):
            return None
        if is_visible:
            insort(self._keys, key)
            self._by_key[key] = participant
        else:
            del self._keys[index], self._by_key[key]
        return index

    def first(self) -> Participant | None:
        """Return the participant at the head of the list."""
        return self._by_key[self._keys[0]] if self._keys else None

    def window(self, viewer: Participant, first: int, count: int) -> list[Participant]:
        """Return `count` participants from `first` on, counted without the viewer."""
        key = _place(viewer)
        own_index = bisect_left(self._keys, key) if key in self._by_key else len(self._keys)
        start = first + (own_index <= first)
        keys = [k for k in self._keys[start : start + count + 1] if k != key]
        return [self._by_key[k] for k in keys[:count]]


def _place(participant: Participant) -> tuple[int, int]:
    return (roles.rank(participant.role), participant.order)


class Sight:
    """Decides what everybody in one room sees, and sets the slots accordingly."""

    def __init__(
        self,
        participants: Mapping[str, Participant],
        broadcast: Callable[[BridgeMessage], None],
        note: Callable[[EventKind, Mapping[str, Any]], None],
        shares: Shares,
    ) -> None:
        # Passed by argument; the mapping is the room's own, and always as it is now.
        self._participants = participants
        self._broadcast = broadcast
        self._note = note
        self._shares = shares
        # Allocated by this.
        self._pinned: Participant | None = None
        self._mode = StageMode.SPEAKER
        self._dominant: Participant | None = None
        self._on_stage: Participant | None = None
        self._stage_shown: Publication | None = None
        self._earlier: deque[Participant] = deque(maxlen=EARLIER_STAGES_KEPT)
        self._chosen_share: Share | None = None
        self._content: Share | None = None
        self._content_shown: Publication | None = None
        self._cameras = CameraList()
        self._cameras_changed_from: int | None = None
        # Who has still to be shown the newest state, and whether thumbnails are part of it.
        self._unshown: dict[Participant, bool] = {}

    @property
    def stage(self) -> StageState:
        """Who is on stage, and who decides it."""
        on_stage = self._on_stage.id if self._on_stage else None
        return StageState(on_stage, self._mode)

    @property
    def content(self) -> Picture | None:
        """The room's content picture."""
        return Picture(self._content[0].id, self._content[1]) if self._content else None

    @property
    def dominant(self) -> Participant | None:
        """Who leads the conversation."""
        return self._dominant

    # What moderators ask for.

    def choose_stage(self, participant: Participant | None, by: str | None) -> None:
        """Put somebody on stage, or let the stage follow the speaker again."""
        before = self.stage
        self._pinned = participant
        self._evaluate_stage(before, by)

    def choose_content(self, participant: Participant | None, source: Source | None, by: str) -> None:
        """Choose among what is shared now, or follow the newest share again; raises Refused."""
        if participant is None:
            self._chosen_share = None
        else:
            share = self._shares.confirm(participant, source)
            if share is None:
                raise Refused("refused", "this participant does not share that")
            self._chosen_share = share
        self._evaluate_content(by)

    # What happens in the room.

    def participant_came(self, participant: Participant) -> None:
        """Somebody has come in, and brings what was off show when its line broke."""
        self._shares.came(participant)

    def case_changed(self) -> None:
        """A case begins or ends: what is shared goes off show until it is shared or chosen anew."""
        self._shares.withhold_all()
        self._chosen_share = None
        self._evaluate_content(is_withheld=True)

    def dominant_changed(self, participant: Participant | None) -> None:
        """Somebody else leads the conversation, or nobody does."""
        self._dominant = participant
        self._evaluate_stage(self.stage)

    def sending_changed(self, participant: Participant) -> None:
        """A publication of the participant can be seen now, or no longer, or is another one."""
        self._place_camera(participant)
        self._shares.changed(participant)
        self._evaluate_stage(self.stage)
        self._evaluate_content()

    def presence_changed(self, participant: Participant) -> None:
        """The participant's line is lost, or it is back."""
        if participant is self._pinned:
            self._evaluate_stage(self.stage)

    def participant_left(self, participant: Participant) -> None:
        """The participant, already out of the room's mapping, is forgotten everywhere."""
        before = self.stage
        self._unshown.pop(participant, None)
        if self._pinned is participant:
            self._pinned = None
        if self._dominant is participant:
            self._dominant = None
        if self._on_stage is participant:
            self._on_stage = None
        self._forget_earlier(participant)
        self._note_camera_change(self._cameras.put(participant, is_visible=False))
        self._shares.left(participant)
        self._evaluate_stage(before)
        self._evaluate_content()

    def show_all(self, viewer: Participant) -> None:
        """Set all slots of a viewer who has just negotiated them."""
        self._show_stage_and_content(viewer)
        self.show_thumbnails(viewer)

    def show_thumbnails(self, viewer: Participant) -> None:
        """Set the viewer's thumbnail slots; a picture that stays in the window stays in its slot."""
        slots = viewer.slots(SlotRole.THUMBNAIL)
        if viewer.leg is None or not slots:
            return
        wanted = self._thumbnails_for(viewer, len(slots))
        staying = [slot for slot in slots if any(slot.shown is picture for picture in wanted)]
        coming = iter([picture for picture in wanted if all(slot.shown is not picture for slot in staying)])
        for slot in slots:
            if slot not in staying:
                publication = next(coming, None)
                if slot.shown is not publication:
                    viewer.leg.show(slot, publication)

    def refresh_thumbnails(self) -> None:
        """Re-show thumbnails to those whose window the camera list has changed in."""
        changed_from, self._cameras_changed_from = self._cameras_changed_from, None
        if changed_from is None:
            return
        for viewer in self._participants.values():
            first, count = _window_of(viewer, len(viewer.slots(SlotRole.THUMBNAIL)))
            # One more, as the viewer itself may stand in the list before the window.
            if changed_from <= first + count:
                self._unshown[viewer] = True
        self.show_more()

    def show_more(self) -> bool:
        """Show the next slice of viewers what has changed; return whether more are to follow."""
        for _ in range(min(SLICE, len(self._unshown))):
            viewer = next(iter(self._unshown))
            # Before it is shown: a viewer that cannot be is not to hold up its room for ever.
            with_thumbnails = self._unshown.pop(viewer)
            self._show_stage_and_content(viewer)
            if with_thumbnails:
                self.show_thumbnails(viewer)
            viewer.tell_slots()
        return bool(self._unshown)

    def _show_everybody(self) -> None:
        for viewer in self._participants.values():
            self._unshown.setdefault(viewer, False)
        self.show_more()

    def _show_stage_and_content(self, viewer: Participant) -> None:
        self._show(viewer, SlotRole.STAGE, self._stage_for(viewer))
        self._show(viewer, SlotRole.CONTENT, self._content_for(viewer))

    # Stage.

    def _evaluate_stage(self, before: StageState, by: str | None = None) -> None:
        pinned = self._pinned_now()
        self._mode = StageMode.SPEAKER if pinned is None else StageMode.CHAIR
        on_stage = self._next_on_stage(pinned)
        if on_stage is not self._on_stage:
            if self._on_stage is not None:
                self._forget_earlier(self._on_stage)
                self._earlier.appendleft(self._on_stage)
            self._on_stage = on_stage
        if self.stage != before:
            self._tell_stage(by)
        shown = on_stage.picture(Source.CAMERA) if on_stage else None
        if self.stage.participant != before.participant or shown is not self._stage_shown:
            self._stage_shown = shown
            self._show_everybody()
        elif on_stage is not None:
            # What those on stage see depends on all the others.
            self._show_stage_and_content(on_stage)
            on_stage.tell_slots()

    def _tell_stage(self, by: str | None) -> None:
        participant, mode = self.stage.participant, self.stage.mode
        self._broadcast(StageChange(participant, mode))
        data: dict[str, Any] = {"participant": participant, "mode": mode.value}
        if by is not None:
            data["by"] = by
        if mode is StageMode.CHAIR and self._on_stage is not None:
            data["link"] = self._on_stage.claims.id
        self._note(EventKind.STAGE, data)

    def _forget_earlier(self, participant: Participant) -> None:
        if participant in self._earlier:
            self._earlier.remove(participant)

    def _pinned_now(self) -> Participant | None:
        """Return whom a moderator chose, unless that site has lost its line: meanwhile it is the speaker."""
        pinned = self._pinned
        return pinned if pinned is not None and (pinned.is_connected or _is_visible(pinned)) else None

    def _next_on_stage(self, pinned: Participant | None) -> Participant | None:
        if pinned is not None:
            return pinned
        for candidate in (self._dominant, self._on_stage, *self._earlier, self._cameras.first()):
            if candidate is not None and _is_visible(candidate):
                return candidate
        return None

    def _stage_for(self, viewer: Participant) -> "Publication | None":
        if viewer is not self._on_stage:
            return self._on_stage.picture(Source.CAMERA) if self._on_stage else None
        for candidate in (self._dominant, *self._earlier, *self._cameras.window(viewer, 0, 1)):
            if candidate is not None and candidate is not viewer and _is_visible(candidate):
                return candidate.picture(Source.CAMERA)
        return None

    # Content.

    def _evaluate_content(self, by: str | None = None, *, is_withheld: bool = False) -> None:
        before, shares = self.content, self._shares.shown
        if self._chosen_share not in shares:
            self._chosen_share = None
        self._content = self._chosen_share or (shares[-1] if shares else None)
        if self.content != before:
            self._tell_content(by, is_withheld)
        shown = self._content[0].picture(self._content[1]) if self._content else None
        if shown is not self._content_shown or self.content != before:
            self._content_shown = shown
            self._show_everybody()

    def _tell_content(self, by: str | None, is_withheld: bool) -> None:
        picture = self.content
        participant, source = (picture.participant, picture.source) if picture else (None, None)
        self._broadcast(ContentChange(participant, source, is_withheld))
        data: dict[str, Any] = {"participant": participant, "source": source.value if source else None}
        if by is not None:
            data["by"] = by
        self._note(EventKind.CONTENT, data)

    def _content_for(self, viewer: Participant) -> "Publication | None":
        if self._content is None or self._content[0] is viewer:
            return None
        # As it is now: the stage may be shown before the content is evaluated.
        return self._content[0].picture(self._content[1])

    # Thumbnails.

    def _place_camera(self, participant: Participant) -> None:
        self._note_camera_change(self._cameras.put(participant, is_visible=_is_visible(participant)))

    def _note_camera_change(self, index: int | None) -> None:
        if index is not None:
            changed_from = self._cameras_changed_from
            self._cameras_changed_from = index if changed_from is None else min(changed_from, index)

    def _thumbnails_for(self, viewer: Participant, slot_count: int) -> "list[Publication]":
        first, count = _window_of(viewer, slot_count)
        pictures = (one.picture(Source.CAMERA) for one in self._cameras.window(viewer, first, count))
        return [picture for picture in pictures if picture is not None]

    def _show(self, viewer: Participant, role: SlotRole, publication: "Publication | None") -> None:
        """Show the picture in the viewer's first slot of this role."""
        slots = viewer.slots(role)
        if viewer.leg is not None and slots and slots[0].shown is not publication:
            viewer.leg.show(slots[0], publication)


def _window_of(viewer: Participant, slot_count: int) -> tuple[int, int]:
    if viewer.window is None:
        return 0, slot_count
    return viewer.window.first, min(viewer.window.count, slot_count)


def _is_visible(participant: Participant) -> bool:
    return participant.picture(Source.CAMERA) is not None
