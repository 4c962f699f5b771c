"""A forwarding unit without packets: it keeps the promises that rooms rely on, and nothing else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bridge.base.errors import NegotiationFailed
from bridge.base.words import PauseReason, SlotRole, Source
from bridge.leg.encoding import Codec

PAGE_PUBLICATIONS = {
    "0": Source.MICROPHONE,
    "1": Source.CAMERA,
    "2": Source.CONTENT,
    "3": Source.AUXILIARY,
}


def page_slots(thumbnails: int = 9) -> dict[str, SlotRole]:
    roles = [SlotRole.VOICE] * 3 + [SlotRole.STAGE, SlotRole.CONTENT] + [SlotRole.THUMBNAIL] * thumbnails
    return {str(4 + index): role for index, role in enumerate(roles)}


@dataclass(eq=False)
class FakePublication:
    leg_id: str
    source: Source
    mid: str
    is_live: bool = False
    is_muted: bool = False
    codec: Codec = Codec.VP8
    keyframe_interval_s: float | None = None


@dataclass(eq=False)
class FakeSlot:
    mid: str
    role: SlotRole
    shown: FakePublication | None = None
    codecs: frozenset[Codec] = frozenset(Codec)
    pause: PauseReason | None = None
    begins_at: int | None = None

    def takes(self, publication: FakePublication) -> bool:
        return publication.codec in self.codecs

    @property
    def seen(self) -> FakePublication | None:
        """Pictures come at once."""
        return self.shown


@dataclass
class FakeStats:
    rtt_ms: float | None = 12.34
    loss_up: float = 0.0
    loss_down: float = 0.01
    protocol: str | None = "udp"
    available_bps: int = 2_500_000
    sent_bps: int = 1_700_000
    queue_s: float | None = 0.004


@dataclass(eq=False)
class FakeLeg:
    id: str
    router: "FakeRouter"
    observer: Any
    publications: dict[Source, FakePublication] = field(default_factory=dict)
    all_slots: dict[str, FakeSlot] = field(default_factory=dict)
    wanted_px: dict[str, int] = field(default_factory=dict)
    voices: dict[str, str | None] = field(default_factory=dict)
    closed_reason: str | None = None
    show_count: int = 0
    offers: int = 0

    def negotiate(
        self, sdp: str, publications: Mapping[str, Source] | None, slots: Mapping[str, SlotRole] | None
    ) -> str:
        if "bad" in sdp:
            raise NegotiationFailed("negotiation-failed:bad-offer", "the offer says that it is bad")
        assert self.closed_reason is None
        self.offers += 1
        for mid, source in (publications or {"0": Source.MICROPHONE, "1": Source.CAMERA}).items():
            self.publications.setdefault(source, FakePublication(self.id, source, mid))
        for mid, role in (slots or {}).items():
            self.all_slots.setdefault(mid, FakeSlot(mid, role))
        return f"answer {self.offers} to {sdp}"

    def publication(self, source: Source) -> FakePublication | None:
        return self.publications.get(source)

    def slots(self, role: SlotRole) -> list[FakeSlot]:
        return [slot for slot in self.all_slots.values() if slot.role is role]

    def show(self, slot: FakeSlot, publication: FakePublication | None) -> None:
        assert self.all_slots[slot.mid] is slot
        if publication is not None:
            assert publication.leg_id != self.id, "nobody is shown to themselves"
            assert self.router.legs[publication.leg_id].publications[publication.source] is publication
        self.show_count += 1
        slot.shown = publication

    def want(self, mid: str, height_px: int) -> None:
        assert mid in self.all_slots
        self.wanted_px[mid] = height_px

    def set_muted(self, source: Source, muted: bool) -> None:
        self.publications[source].is_muted = muted

    def close(self, reason: str) -> None:
        if self.closed_reason is not None:
            return
        self.closed_reason = reason
        del self.router.legs[self.id]
        for leg in self.router.legs.values():
            for slot in leg.all_slots.values():
                if slot.shown is not None and slot.shown.leg_id == self.id:
                    slot.shown = None

    def snapshot(self) -> FakeStats:
        return FakeStats()

    def voice_assignment(self) -> dict[str, str | None]:
        return self.voices

    # What the network does in tests.

    def fail(self, reason: str = "timeout") -> None:
        self.close(reason)
        self.observer.leg_closed(reason)

    def send(self, source: Source, is_live: bool = True) -> None:
        self.publications[source].is_live = is_live
        self.observer.publication_live(source, is_live)

    def shown(self, role: SlotRole) -> list[str | None]:
        return [slot.shown.leg_id if slot.shown else None for slot in self.slots(role)]


@dataclass(eq=False)
class FakeRouter:
    observer: Any
    legs: dict[str, FakeLeg] = field(default_factory=dict)
    is_closed: bool = False

    def create_leg(self, leg_id: str, observer: Any, *, is_device: bool = False) -> FakeLeg:
        assert leg_id not in self.legs
        self.legs[leg_id] = FakeLeg(leg_id, self, observer)
        return self.legs[leg_id]

    def check_offer(self, sdp: str, *_: object) -> None:
        FakeSfu.check_offer(sdp)

    def close(self) -> None:
        assert not self.legs
        self.is_closed = True


class FakeSfu:
    def __init__(self) -> None:
        self.routers: set[FakeRouter] = set()

    @staticmethod
    def check_offer(sdp: str, *_: object) -> None:
        if "bad" in sdp:
            raise NegotiationFailed("negotiation-failed:bad-offer", "the offer says that it is bad")

    def create_router(self, observer: Any) -> FakeRouter:
        router = FakeRouter(observer)
        self.routers.add(router)
        return router
