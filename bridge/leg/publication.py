"""One track going up: its encodings, which of them somebody wants, and which of them are alive."""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from bridge.base.words import Source
from bridge.leg.encoding import Codec, Encoding

# An encoder under CPU or bandwidth pressure stops its upper layers without a word. Camera
# pictures come every 33 to 67 ms; the layers of a shared screen that hardly changes, a second apart.
STALL_S = {Source.CAMERA: 0.35, Source.MICROPHONE: 2.0, Source.CONTENT: 1.5, Source.AUXILIARY: 1.0}
# Longer than any pause of a slow camera (one picture in two seconds) or of a congested line; sound may pause
# for ever where nothing is sent in silence (RFC 6716, 2.1.9), as long as its sender reports come.
ENDED_S = 4.0
# Sound that is not sent in silence is reported all the same, every 5 s or up to 7.5 s (RFC 3550, 6.2).
VOICE_ENDED_S = 8.0
# A viewer who pages through the gallery comes back: a layer goes on this long unwatched.
UNWATCHED_S = 4.0
# One that falls silent again so soon is slow, not stalled: it is given twice as long, up to so many times.
STALLED_AGAIN_S = 5.0
PATIENCE_MAX = 8.0
# An encoding that was asked for, or has never been switched off, and still does not come is absent.
ABSENT_S = 1.0
# Until a layer was measured, what browsers make of our layers (bit/s, picture height), lowest first.
NOMINAL = ((150_000, 180), (500_000, 360), (1_700_000, 720))
OUR_RIDS = ("l", "m", "h")
NOMINAL_ALONE = (1_500_000, 720)
# Sources that may rest: a still X-ray sends nothing for a minute, and has not gone.
RESTING_SOURCES = frozenset({Source.CONTENT, Source.AUXILIARY})


class Watcher(Protocol):
    """Who watches a publication: a slot of some leg."""

    @property
    def leg_id(self) -> str:
        """Whose slot it is."""

    @property
    def desired(self) -> tuple[str, int] | None:
        """The RID and temporal limit that it would like to have, whether or not they arrive now."""

    @property
    def unprotected_loss(self) -> float:
        """The share of packets that its line loses, where the bridge can send no redundancy."""

    def aim(self, encoding: Encoding | None, temporal_limit: int) -> bool:
        """Show an encoding as soon as it can be; tell whether a key frame is needed for that."""


class PublicationState(Enum):
    """Whether there is something to see or hear of a publication."""

    # Nothing has come yet.
    AWAITED = "awaited"
    LIVE = "live"
    # Nothing comes just now, or the publisher was told that nobody watches.
    PAUSED = "paused"
    # Nothing has come for so long that others must be told; it may go on.
    ENDED = "ended"


class Publication:
    """A track of a leg, in up to three encodings; told from outside what arrives and who watches."""

    __slots__ = (
        "_absent",
        "_asked_at",
        "_asked_rids",
        "_asked_since",
        "_unwatched_since",
        "codec",
        "encodings",
        "is_cut",
        "is_face",
        "is_muted",
        "leg_id",
        "mid",
        "recorded_rid",
        "rids",
        "source",
        "state",
        "watchers",
    )

    def __init__(
        self,
        *,
        leg_id: str,
        mid: str,
        source: Source,
        codec: Codec,
        rids: tuple[str, ...],
    ) -> None:
        self.leg_id = leg_id
        self.mid = mid
        self.source = source
        self.codec = codec
        # In the order of the offer; one nameless encoding without simulcast.
        self.rids = rids or ("",)
        self.encodings: dict[str, Encoding] = {}
        self.state = PublicationState.AWAITED
        self.is_muted = False
        # Whether nothing at all comes of whoever sends it (`signal`).
        self.is_cut = False
        # A face may stay for a moment until the next one is there; the image of a patient may not.
        self.is_face = source is Source.CAMERA
        # The slots whose `shown` is this publication.
        self.watchers: set[Watcher] = set()
        # The encoding that is recorded, or would be if it arrived.
        self.recorded_rid: str | None = None
        self._unwatched_since: dict[str, float] = {}
        self._asked_rids: tuple[str, ...] = self.rids
        # Since when each encoding should be coming, and which of them are absent nevertheless.
        self._asked_since: dict[str, float] = {}
        self._absent: set[str] = set()
        # When the publisher was last told to send after it had been told to send nothing.
        self._asked_at = 0.0

    @property
    def is_live(self) -> bool:
        """Whether it can be counted on: seen, and not ended."""
        return self.state in (PublicationState.LIVE, PublicationState.PAUSED)

    @property
    def is_arriving(self) -> bool:
        """Whether packets arrive now; a screen that does not change may rest between two of them."""
        return self.state is PublicationState.LIVE

    @property
    def is_watched(self) -> bool:
        """Whether its publisher was told that somebody watches it."""
        return bool(self._asked_rids)

    def has_stopped(self, now: float) -> bool:
        """Whether it came, should go on, and does not; what was just asked for again is on its way."""
        is_expected = self.is_watched and bool(self.encodings) and now - self._asked_at > ABSENT_S
        return is_expected and not self.is_arriving

    def set_muted(self, is_muted: bool) -> None:
        """Let nothing of this publication go out, whoever shows it still, or let it be shown again."""
        self.is_muted = is_muted
        if is_muted:
            for encoding in self.encodings.values():
                encoding.let_go()
        else:
            for encoding in self.encodings.values():
                encoding.forget_lost()

    @property
    def unprotected_loss(self) -> float:
        """The share of packets lost to those who show it, of the worst line that has no redundancy."""
        return max((watcher.unprotected_loss for watcher in self.watchers), default=0.0)

    @property
    def is_video(self) -> bool:
        """Whether slots must wait for a key frame."""
        return self.codec is not Codec.OPUS

    @property
    def keyframe_interval_s(self) -> float | None:
        """How far its last key frames were apart, of its encodings the longest; None before the second."""
        measured = (one.keyframe_interval_s for one in self.encodings.values())
        return max((interval_s for interval_s in measured if interval_s is not None), default=None)

    def is_alive(self, rid: str) -> bool:
        """Whether packets of this encoding arrive now; sound, of which there is one, only pauses."""
        encoding = self.encodings.get(rid)
        return encoding is not None and (encoding.is_audio or not encoding.is_stalled)

    @property
    def ranked_rids(self) -> tuple[str, ...]:
        """The RIDs, lowest quality first: by what has arrived of them, whatever their names and order.

        Heights decide, then bitrates. What has not arrived yet stands where the offer's order puts it, which
        is lowest first unless what has arrived shows the opposite.
        """
        rids = self.rids
        heights = {rid: one.height_px for rid, one in self.encodings.items() if one.height_px}
        measured = [heights[rid] for rid in rids if rid in heights]
        if not measured or len(rids) == 1:
            return rids if not set(rids) <= set(OUR_RIDS) else tuple(sorted(rids, key=OUR_RIDS.index))
        is_reversed = measured[0] > measured[-1]
        offered = rids[::-1] if is_reversed else rids
        ranked = sorted((rid for rid in offered if rid in heights), key=self._measured)
        for rid in offered:
            if rid not in heights:
                ranked.insert(min(offered.index(rid), len(ranked)), rid)
        return tuple(ranked)

    def _measured(self, rid: str) -> tuple[int, float]:
        encoding = self.encodings[rid]
        return encoding.height_px, encoding.rates.usual_bps

    def nearest_alive(self, rid: str) -> Encoding | None:
        """Return the encoding to show while `rid` is what one would like to show.

        An encoding that was only just asked for, or that the publisher cannot afford, has no
        packets: then the best one below it serves. The first above it serves only where all below
        are absent: for one that is about to come, nobody is to be sent many times as much.
        """
        ranked = self.ranked_rids
        place = ranked.index(rid)
        below = ranked[: place + 1]
        for candidate in reversed(below):
            if self.is_alive(candidate):
                return self.encodings[candidate]
        if self._absent.issuperset(below):
            for candidate in ranked[place + 1 :]:
                if self.is_alive(candidate):
                    return self.encodings[candidate]
        if self.source in RESTING_SOURCES and not any(map(self.is_alive, ranked)):
            return next((self.encodings[one] for one in reversed(below) if one in self.encodings), None)
        return None

    def price_bps(self, rid: str, now: float) -> float:
        """What showing this encoding would cost a link now."""
        if rid in self._absent and not self.is_alive(rid):
            stand_in = self.nearest_alive(rid)
            # While nothing comes, nothing is paid.
            if stand_in is None or stand_in.is_stalled:
                return 0.0
            return self.price_bps(stand_in.rid, now)
        encoding = self.encodings.get(rid)
        nominal_bps = self._nominal(rid)[0]
        if encoding is None or not encoding.rates.usual_bps:
            return nominal_bps
        # Not what came in the last second: a key frame would price out those it was made for.
        return max(encoding.rates.usual_bps, nominal_bps / 16)

    def picture_height_px(self, rid: str) -> int:
        """How many lines this encoding has, as far as is known."""
        encoding = self.encodings.get(rid)
        if encoding is not None and encoding.height_px:
            return encoding.height_px
        return self._nominal(rid)[1]

    def _nominal(self, rid: str) -> tuple[int, int]:
        if len(self.rids) == 1:
            return NOMINAL[OUR_RIDS.index(rid)] if rid in OUR_RIDS else NOMINAL_ALONE
        if set(self.rids) <= set(OUR_RIDS):
            return NOMINAL[OUR_RIDS.index(rid)]
        return NOMINAL[self.ranked_rids.index(rid)]

    def come_alive(self) -> PublicationState:
        """Note that packets arrive, for the first time or again; return what it was before."""
        before, self.state = self.state, PublicationState.LIVE
        return before

    def await_keyframe(self, encoding: Encoding) -> None:
        """Let those who would like to have an encoding begin with the key frame that it comes back with.

        Whoever is only let in when its leg has chosen anew is late for that one, and has another made. What
        was counted as absent is left to that choice: while it was, its stand-in was paid for.
        """
        if self.is_muted or encoding.rid in self._absent:
            return
        for watcher in self.watchers:
            if watcher.desired is not None and watcher.desired[0] == encoding.rid:
                watcher.aim(encoding, watcher.desired[1])

    def notice_silence(self, now: float) -> bool:
        """Find encodings that are silent or do not come, and whether all are; tell of any change."""
        changed = self._notice_stalls(now)
        before = self.state
        if self.is_live:
            self.state = self._state(now)
        return changed or self.state is not before

    def _notice_stalls(self, now: float) -> bool:
        changed = False
        if self.source is Source.CONTENT:
            # A screen that does not change may rest for minutes: a layer is stalled where another goes on.
            now = max((one.last_arrival or 0.0 for one in self.encodings.values()), default=now)
        for encoding in self.encodings.values():
            if encoding.last_arrival is None:
                continue
            encoding.measure(now)
            is_stalled = now - encoding.last_arrival > STALL_S[self.source] * encoding.patience
            if is_stalled is not encoding.is_stalled:
                encoding.is_stalled = is_stalled
                changed = True
                if is_stalled:
                    is_slow = now - encoding.stalled_at < STALLED_AGAIN_S
                    patience = encoding.patience * 2 if is_slow else encoding.patience / 2
                    encoding.patience = min(max(patience, 1.0), PATIENCE_MAX)
                    encoding.stalled_at = now
        absent = {
            rid
            for rid in self._asked_rids
            if not self.is_alive(rid) and now - self._asked_since.setdefault(rid, now) > ABSENT_S
        }
        if absent != self._absent:
            self._absent = absent
            changed = True
        return changed

    def _state(self, now: float) -> PublicationState:
        if any(not encoding.is_stalled for encoding in self.encodings.values()):
            return PublicationState.LIVE
        if not self._asked_rids:
            return PublicationState.PAUSED
        heard = [encoding.last_arrival or 0.0 for encoding in self.encodings.values()]
        if not self.is_video:
            heard += [encoding.report[2] for encoding in self.encodings.values() if encoding.report]
        limit_s = ENDED_S if self.is_video else VOICE_ENDED_S
        is_ended = now - max((self._asked_at, *heard)) > limit_s
        return PublicationState.ENDED if is_ended else PublicationState.PAUSED

    def wanted_rids(self, now: float) -> list[str] | None:
        """Return which encodings the publisher should send, if that differs from what it was last told."""
        if not self.is_live:
            # What was never seen cannot be wanted yet: its first packet is what shows it to the room.
            return None
        watched = self._watched_rids()
        wanted = []
        for rid in self.rids:
            if rid in watched:
                self._unwatched_since.pop(rid, None)
                wanted.append(rid)
            elif now - self._unwatched_since.setdefault(rid, now) < UNWATCHED_S and rid in self._asked_rids:
                wanted.append(rid)
        if tuple(wanted) == self._asked_rids:
            return None
        for rid in set(wanted).difference(self._asked_rids):
            self._asked_since[rid] = now
        if not self._asked_rids:
            self._asked_at = now
        self._asked_rids = tuple(wanted)
        return wanted

    def _watched_rids(self) -> set[str]:
        """Return the encodings that some slot or the recorder takes, awaits or would like to have."""
        watched = {slot.desired[0] for slot in self.watchers if slot.desired is not None}
        if self.recorded_rid is not None:
            watched.add(self.recorded_rid)
        for rid, encoding in self.encodings.items():
            if encoding.is_watched:
                watched.add(rid)
        return watched
