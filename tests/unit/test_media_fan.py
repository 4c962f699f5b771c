"""What a receiver sees of a slot whose source, layer and losses change."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.leg.fan import ALL_TEMPORAL_LAYERS, Fan
from bridge.leg.forwarder import Forwarder
from bridge.media.packet import MediaPacket
from bridge.media.rows import Rows

CLOCK_RATE_HZ = 90_000
# Chromium's pattern of three temporal layers: (temporal id, leans on the base layer only).
PATTERN = ((0, False), (2, True), (1, True), (2, False))


@dataclass
class Camera:
    """Makes the packets of one VP8 encoding with three temporal layers, two packets a picture."""

    extended: int = 70_000
    timestamp: int = 5_000
    picture_id: int = 0x7FFA
    tl0_picture_index: int = 250
    pictures: int = 0

    def picture(self, now: float, *, is_keyframe: bool = False) -> list[MediaPacket]:
        if is_keyframe:
            self.pictures = 0
        temporal_id, layer_sync = PATTERN[self.pictures % 4]
        self.pictures += 1
        self.timestamp += 3000
        self.picture_id = (self.picture_id + 1) & 0x7FFF
        if temporal_id == 0:
            self.tl0_picture_index = (self.tl0_picture_index + 1) & 0xFF
        packets = []
        for part in range(2):
            self.extended += 1
            packets.append(
                MediaPacket(
                    self.extended,
                    self.timestamp & 0xFFFFFFFF,
                    part == 1,
                    b"vp8 payload",
                    now,
                    None,
                    is_keyframe,
                    part == 0,
                    temporal_id,
                    layer_sync,
                    self.picture_id,
                    2,
                    self.tl0_picture_index,
                    4,
                )
            )
        return packets


@dataclass(frozen=True)
class Seen:
    """One packet as the receiver gets it."""

    sequence_number: int
    timestamp: int
    picture_id: int
    tl0_picture_index: int
    origin: MediaPacket = field(repr=False)


@dataclass
class Receiver:
    seen: list[Seen] = field(default_factory=list)


def deliver(rows_and_count: tuple[Rows, int] | None, packet: MediaPacket) -> None:
    if rows_and_count is None:
        return
    rows, count = rows_and_count
    for row in range(count):
        rows.route[row].seen.append(
            Seen(
                int(rows.sequence_number[row]) & 0xFFFF,
                int(rows.timestamp[row]) & 0xFFFFFFFF,
                int(rows.picture_id[row]) & 0x7FFF,
                int(rows.tl0_picture_index[row]) & 0xFF,
                packet,
            )
        )


def new_fan() -> Fan:
    return Fan(source="camera", clock_rate_hz=CLOCK_RATE_HZ, make_route=list)


def new_forwarder(ssrc: int = 1) -> tuple[Forwarder, Receiver]:
    receiver = Receiver()
    forwarder = Forwarder(
        destination=receiver,
        ssrc=ssrc,
        payload_types={"vp8": 96},
        abs_send_time_id=2,
        audio_level_id=0,
        first_sequence_number=65_530 - 65_536 * (ssrc % 2),
        first_timestamp=4_294_960_000,
    )
    return forwarder, receiver


def switch(forwarder: Forwarder, fan: Fan, packet: MediaPacket, limit: int = ALL_TEMPORAL_LAYERS) -> None:
    forwarder.switch(fan, packet, codec="vp8", temporal_limit=limit)


def steps(values: list[int], modulus: int) -> Iterator[int]:
    return ((after - before) % modulus for before, after in pairwise(values))


def test_numbers_go_on_by_one_when_the_source_changes() -> None:
    first, second = Camera(), Camera(extended=900, timestamp=123, picture_id=17, tl0_picture_index=3)
    fans = {id(first): new_fan(), id(second): new_fan()}
    forwarder, receiver = new_forwarder()
    now = 10.0
    for turn in range(20):
        camera = (first, second)[turn % 2]
        for picture in range(7):
            now += 1 / 30
            for source in (first, second):
                for packet in source.picture(now, is_keyframe=picture == 0):
                    if source is camera and picture == 0 and packet.starts_frame:
                        switch(forwarder, fans[id(source)], packet)
                    deliver(fans[id(source)].forward(packet), packet)
    seen = receiver.seen
    # The source left is held for one picture more: until the key frame of the other one is here.
    assert len(seen) == 20 * 7 * 2 + 10 * 2
    assert set(steps([packet.sequence_number for packet in seen], 1 << 16)) == {1}
    assert set(steps([packet.picture_id for packet in seen], 1 << 15)) == {0, 1}
    assert set(steps([packet.tl0_picture_index for packet in seen], 1 << 8)) <= {0, 1}
    assert max(steps([packet.timestamp for packet in seen], 1 << 32)) <= 3100


def test_a_pause_between_two_sources_shows_in_the_timestamps() -> None:
    camera, fan = Camera(), new_fan()
    forwarder, receiver = new_forwarder()
    for packet in camera.picture(1.0, is_keyframe=True):
        if packet.starts_frame:
            switch(forwarder, fan, packet)
        deliver(fan.forward(packet), packet)
    forwarder.stop()
    for packet in camera.picture(9.0, is_keyframe=True):
        if packet.starts_frame:
            switch(forwarder, fan, packet)
        deliver(fan.forward(packet), packet)
    assert (receiver.seen[2].timestamp - receiver.seen[1].timestamp) & 0xFFFFFFFF == 8 * CLOCK_RATE_HZ
    assert (receiver.seen[2].sequence_number - receiver.seen[1].sequence_number) & 0xFFFF == 1


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_fewer_temporal_layers_leave_no_holes(limit: int) -> None:
    camera, fan = Camera(), new_fan()
    full, everything = new_forwarder(1)
    thin, some = new_forwarder(2)
    now = 1.0
    for picture in range(40):
        now += 1 / 30
        for packet in camera.picture(now, is_keyframe=picture == 0):
            if picture == 0 and packet.starts_frame:
                switch(full, fan, packet)
                switch(thin, fan, packet, limit)
            deliver(fan.forward(packet), packet)
    assert len(everything.seen) == 80
    assert {packet.origin.temporal_id for packet in some.seen} == set(range(limit + 1))
    for receiver in (everything, some):
        assert set(steps([packet.sequence_number for packet in receiver.seen], 1 << 16)) == {1}
        assert set(steps([packet.picture_id for packet in receiver.seen], 1 << 15)) == {0, 1}
    assert thin.packets == len(some.seen)


def test_more_temporal_layers_come_in_at_their_sync_pictures_only() -> None:
    camera, fan = Camera(), new_fan()
    forwarder, receiver = new_forwarder()
    for picture in range(24):
        for packet in camera.picture(1.0 + picture / 30, is_keyframe=picture == 0):
            if picture == 0 and packet.starts_frame:
                switch(forwarder, fan, packet, 0)
            deliver(fan.forward(packet), packet)
        if picture == 9:
            forwarder.limit(ALL_TEMPORAL_LAYERS)
    pictures = [packet.origin for packet in receiver.seen if packet.origin.starts_frame]
    for temporal_id in (1, 2):
        assert next(packet for packet in pictures if packet.temporal_id == temporal_id).layer_sync
    assert set(steps([packet.sequence_number for packet in receiver.seen], 1 << 16)) == {1}
    assert set(steps([packet.picture_id for packet in receiver.seen], 1 << 15)) == {0, 1}


def test_padding_closes_up() -> None:
    camera, fan = Camera(), new_fan()
    forwarder, receiver = new_forwarder()
    for picture in range(6):
        for packet in camera.picture(1.0 + picture / 30, is_keyframe=picture == 0):
            if picture == 0 and packet.starts_frame:
                switch(forwarder, fan, packet)
            deliver(fan.forward(packet), packet)
        camera.extended += 1
        fan.skip(camera.extended)
    assert set(steps([packet.sequence_number for packet in receiver.seen], 1 << 16)) == {1}
    newest = receiver.seen[-1]
    assert forwarder.original(newest.sequence_number) == (
        forwarder.span,
        newest.origin.extended_sequence_number,
    )


@pytest.mark.parametrize("is_padding", [False, True])
def test_a_sender_that_jumps_ahead_leaves_no_hole_behind(is_padding: bool) -> None:
    """A gap of 2^15 or more would lock the slot for this source and for the ones after it."""
    jumping, calm = Camera(), Camera(extended=900, timestamp=123, picture_id=17, tl0_picture_index=3)
    fans = {id(jumping): new_fan(), id(calm): new_fan()}
    forwarder, receiver = new_forwarder()
    for turn, camera in enumerate((jumping, calm)):
        for picture in range(6):
            if camera is jumping and picture in (2, 4):
                camera.extended += 30_000
                if is_padding:
                    fans[id(camera)].skip(camera.extended)
            for packet in camera.picture(1.0 + turn + picture / 30, is_keyframe=picture == 0):
                if picture == 0 and packet.starts_frame:
                    switch(forwarder, fans[id(camera)], packet)
                deliver(fans[id(camera)].forward(packet), packet)
    assert len(receiver.seen) == 24
    assert set(steps([packet.sequence_number for packet in receiver.seen], 1 << 16)) == {1}
    last = receiver.seen[11]
    late = replace(last.origin, extended_sequence_number=70_001)
    assert fans[id(jumping)].forward(late) is None


def test_somebody_may_begin_at_the_packet_that_jumped() -> None:
    first, jumping = Camera(extended=900), Camera()
    fans = {id(first): new_fan(), id(jumping): new_fan()}
    forwarder, receiver = new_forwarder()
    for camera in (first, jumping):
        if camera is jumping:
            for packet in camera.picture(0.5, is_keyframe=True):
                fans[id(camera)].forward(packet)
            camera.extended += 20_000
        for packet in camera.picture(1.0, is_keyframe=True):
            if packet.starts_frame:
                fans[id(camera)].leap(packet.extended_sequence_number)
                switch(forwarder, fans[id(camera)], packet)
            deliver(fans[id(camera)].forward(packet), packet)
    assert set(steps([packet.sequence_number for packet in receiver.seen], 1 << 16)) == {1}


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_late_packets_and_repeats_keep_the_numbers_they_would_have_had(data: st.DataObject) -> None:
    """Reordering upstream, a changing temporal limit and switches: every packet once, and found again."""
    cameras = (Camera(), Camera(extended=66_000, picture_id=3, tl0_picture_index=9))
    fans = (new_fan(), new_fan())
    forwarder, receiver = new_forwarder()
    now = 0.0
    shown = 0
    for turn in range(data.draw(st.integers(1, 4))):
        shown = turn % 2
        held: list[MediaPacket] = []
        for picture in range(data.draw(st.integers(4, 12))):
            now += 1 / 30
            for packet in cameras[shown].picture(now, is_keyframe=picture == 0):
                if picture == 0 and packet.starts_frame:
                    limit = data.draw(st.sampled_from((0, 1, ALL_TEMPORAL_LAYERS)))
                    switch(forwarder, fans[shown], packet, limit)
                # Base layer only: whether a hole was a skipped packet cannot be known in time.
                elif packet.temporal_id == 0 and data.draw(st.booleans()):
                    held.append(packet)
                    continue
                deliver(fans[shown].forward(packet), packet)
            if held and data.draw(st.booleans()):
                late = held.pop(data.draw(st.integers(0, len(held) - 1)))
                deliver(fans[shown].forward(late), late)
        for late in held:
            deliver(fans[shown].forward(late), late)
    by_number: dict[int, Seen] = {}
    for packet in receiver.seen:
        assert packet.sequence_number not in by_number
        by_number[packet.sequence_number] = packet
    highest = max(number if number < 0x8000 else number - 0x10000 for number in by_number)
    for number, packet in by_number.items():
        extended = number if number < 0x8000 else number - 0x10000
        if highest - extended > 150:
            continue
        found = forwarder.original(number)
        assert found is not None
        span, original = found
        assert original == packet.origin.extended_sequence_number
        rows = Rows(route=[], ssrc=[1], payload_type=[97], abs_send_time_id=[0], audio_level_id=[0])
        assert forwarder.repeat(span, packet.origin, rows) == number
        assert int(rows.picture_id[0]) & 0x7FFF == packet.picture_id
        assert int(rows.timestamp[0]) & 0xFFFFFFFF == packet.timestamp


def test_late_packets_make_no_rows_of_their_own() -> None:
    """A thousand receivers looked up anew for each of many late packets would hold up everybody else."""
    made: list[int] = []

    def make_route(receivers: list[Receiver]) -> list[Receiver]:
        made.append(len(receivers))
        return list(receivers)

    camera = Camera()
    fan = Fan(source="camera", clock_rate_hz=CLOCK_RATE_HZ, make_route=make_route)
    viewers = [new_forwarder(number) for number in range(1, 9)]
    held, packets = [], []
    for picture in range(30):
        for packet in camera.picture(1.0 + picture / 30, is_keyframe=picture == 0):
            if picture == 0 and packet.starts_frame:
                for number, (forwarder, _) in enumerate(viewers):
                    switch(forwarder, fan, packet, number % 4)
            if 10 <= picture < 25:
                held.append(packet)
                continue
            deliver(fan.forward(packet), packet)
            packets.append(packet)
    assert made == [8]
    # One of them begins anew, after the packets that are late.
    viewers[0][0].limit(3)
    (first, second) = camera.picture(2.1, is_keyframe=True)
    deliver(fan.forward(first), first)
    deliver(fan.forward(second), second)
    for packet in held:
        deliver(fan.forward(packet), packet)
    assert made == [8, 8, 7]
    for number, (_, receiver) in enumerate(viewers):
        numbers = sorted(seen.origin.extended_sequence_number for seen in receiver.seen)
        assert len(numbers) == len(set(numbers))
        got = {seen.origin.extended_sequence_number for seen in receiver.seen}
        of_layers = {one.extended_sequence_number for one in held if one.temporal_id <= number % 4}
        assert got & {one.extended_sequence_number for one in held} == (of_layers if number else set())
    # Who waited for a key frame that came late is sent all that came since, in rows made once.
    columns = fan.late_columns([forwarder.span for forwarder, _ in viewers])
    for packet in packets:
        fan.forward_again(packet, columns)
    assert made == [8, 8, 7, 8]
