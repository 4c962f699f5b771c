"""Packets to frames: order, losses, and what is left out."""

from collections.abc import Iterable

from hypothesis import given
from hypothesis import strategies as st
from media import h264_payloads, pictures, vp8_payloads

from bridge.capture.frames import (
    HELD_MAX,
    PICTURE_WAIT_S,
    SOUND_WAIT_S,
    Frame,
    FrameBuffer,
    frame_data,
)
from bridge.leg.encoding import Codec
from bridge.media.packet import MediaPacket
from bridge.rtp.h264 import inspect
from bridge.rtp.vp8 import parse_descriptor


class Hopes:
    """Which numbers may still come."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = set(numbers)

    def __call__(self, number: int) -> bool:
        return number in self.numbers


def hopeful(number: int) -> bool:
    return True


def hopeless(number: int) -> bool:
    return False


def vp8(film: Iterable[bytes], first: int = 100) -> list[MediaPacket]:
    """The packets of a film, 3,000 ticks a picture."""
    packets = []
    for number, data in enumerate(film):
        payloads = vp8_payloads(data, picture_id=number)
        for part, payload in enumerate(payloads):
            seen = parse_descriptor(payload, 0, len(payload))
            packets.append(
                MediaPacket(
                    first + len(packets), number * 3000, part == len(payloads) - 1, payload, number / 30,
                    is_keyframe=seen.is_keyframe, starts_frame=seen.starts_frame,
                    descriptor_bytes=seen.length,
                )
            )  # fmt: skip
    return packets


def h264(film: Iterable[bytes], first: int = 100) -> list[MediaPacket]:
    packets = []
    for number, data in enumerate(film):
        payloads = h264_payloads(data)
        for part, payload in enumerate(payloads):
            seen = inspect(payload)
            packets.append(
                MediaPacket(
                    first + len(packets), number * 3000, part == len(payloads) - 1, payload, number / 30,
                    is_keyframe=seen.is_keyframe, starts_frame=seen.starts_frame,
                )
            )  # fmt: skip
    return packets


def voice(count: int, first: int = 100) -> list[MediaPacket]:
    return [
        MediaPacket(first + number, number * 960, False, b"\xfc" + bytes((number,)), number * 0.02, 30)
        for number in range(count)
    ]


def film(count: int = 12, *, large: int = -1) -> list[bytes]:
    """Real pictures; one of them is made large, so that it takes three packets."""
    film = [one.data for one in pictures("vp8")[:count]]
    if large >= 0:
        film[large] += bytes(2500)
    return film


def run(buffer: FrameBuffer, packets: Iterable[MediaPacket], now: float | None = None) -> list[Frame]:
    return [
        frame
        for packet in packets
        for frame in buffer.receive(packet, packet.arrival if now is None else now)
    ]


def started(codec: Codec, hopes: object = hopeful, first: int = 100) -> FrameBuffer:
    buffer = FrameBuffer(codec, is_hoped=hopes)  # type: ignore[arg-type]
    buffer.start(first)
    return buffer


def test_frames_are_what_the_encoder_gave() -> None:
    frames = run(started(Codec.VP8), vp8(film(large=3)))
    assert [frame_data(Codec.VP8, frame.packets) for frame in frames] == film(large=3)
    assert [frame.is_keyframe for frame in frames] == [True] + [False] * 11
    assert (frames[0].width_px, frames[0].height_px) == (320, 180)
    assert len(frames[3].packets) == 3
    assert frames[3].size_bytes == sum(len(packet.payload) for packet in frames[3].packets)


def test_h264_units_get_their_lengths_and_key_frames_their_parameter_sets() -> None:
    encoded = [one.data for one in pictures("h264")[:6]]
    frames = run(started(Codec.H264), h264(encoded))
    assert len(frames) == 6
    assert [frame.is_keyframe for frame in frames] == [True] + [False] * 5
    parameter_sets = frames[0].parameter_sets
    assert parameter_sets is not None
    assert (parameter_sets[0][0] & 0x1F, parameter_sets[1][0] & 0x1F) == (7, 8)
    assert (frames[0].width_px, frames[0].height_px) == (320, 180)
    for frame, data in zip(frames, encoded, strict=True):
        packed = frame_data(Codec.H264, frame.packets)
        units = []
        while packed:
            size = int.from_bytes(packed[:4], "big")
            units.append(packed[4 : 4 + size])
            packed = packed[4 + size :]
        assert sorted(units) == sorted(
            unit for unit in data.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit
        )


def test_parameter_sets_alone_are_no_key_frame() -> None:
    packets = h264([one.data for one in pictures("h264")[:3]])
    # The stream is joined after the IDR picture: another SPS is sent with an ordinary picture.
    sets = MediaPacket(packets[-1].extended_sequence_number, 6000, False, packets[0].payload, 0.0,
                       is_keyframe=True, starts_frame=True)  # fmt: skip
    picture = packets[-1]
    picture.extended_sequence_number += 1
    picture.timestamp = 6000
    buffer = started(Codec.H264, first=sets.extended_sequence_number)
    assert run(buffer, [sets, picture]) == []
    assert buffer.needs_keyframe


@given(st.permutations(range(24)))
def test_reordering_changes_nothing_while_there_is_hope(order: list[int]) -> None:
    packets = vp8(film(12, large=0))[:14]
    buffer = started(Codec.VP8)
    places = [place for place in order if place < 14]
    frames = run(buffer, [packets[place] for place in places], now=0.0)
    assert [frame_data(Codec.VP8, frame.packets) for frame in frames] == film(12, large=0)
    assert not buffer.is_waiting


def test_a_retransmission_that_comes_late_still_gives_its_frame() -> None:
    packets = vp8(film())
    hopes = Hopes(104)
    buffer = started(Codec.VP8, hopes)
    frames = run(buffer, packets[:4] + packets[5:])
    assert len(frames) == 4
    assert buffer.is_waiting
    assert buffer.poll(0.5) == []
    frames += buffer.receive(packets[4], 0.6)
    assert [frame.timestamp for frame in frames] == [number * 3000 for number in range(12)]
    assert all(frame.lost_packets == 0 for frame in frames)


def test_after_a_hopeless_gap_pictures_wait_for_a_key_frame() -> None:
    packets = vp8(film(6) + film(4))
    hopes = Hopes(103)
    buffer = started(Codec.VP8, hopes)
    frames = run(buffer, packets[:3] + packets[4:6])
    assert len(frames) == 3
    hopes.numbers.clear()
    assert buffer.poll(0.3) == []
    assert buffer.needs_keyframe
    assert buffer.lost_packets == 1
    frames += run(buffer, packets[6:])
    assert [frame.timestamp for frame in frames] == [0, 3000, 6000, 18000, 21000, 24000, 27000]
    assert [frame.lost_packets for frame in frames] == [0, 0, 0, 1, 0, 0, 0]
    assert frames[3].is_keyframe
    assert not buffer.needs_keyframe


def test_a_picture_of_which_a_part_is_lost_is_left_out() -> None:
    packets = vp8(film(8, large=2) + film(2))
    damaged = [packet for packet in packets if packet.extended_sequence_number != 103]
    frames = run(started(Codec.VP8, hopeless), damaged)
    assert [frame.timestamp for frame in frames] == [0, 3000, 24000, 27000]


def test_pictures_begin_with_a_key_frame() -> None:
    packets = vp8(film(6) + film(2))
    frames = run(started(Codec.VP8, first=102), packets[2:])
    assert [frame.timestamp for frame in frames] == [18000, 21000]
    assert frames[0].lost_packets == 0


def test_waiting_is_bounded_in_time_and_number() -> None:
    packets = vp8(film(4))
    buffer = started(Codec.VP8)
    assert len(run(buffer, [packets[0], packets[2]], now=1.0)) == 1
    assert buffer.poll(1.0 + PICTURE_WAIT_S / 2) == []
    assert buffer.is_waiting
    buffer.poll(1.0 + PICTURE_WAIT_S)
    assert not buffer.is_waiting
    buffer = started(Codec.VP8)
    buffer.receive(packets[0], 0.0)
    for number in range(HELD_MAX + 1):
        buffer.receive(MediaPacket(102 + number, 6000, False, b"\x80\x80\x80\x01x", 0.0), 0.0)
    assert buffer.lost_packets == 1
    assert not buffer.is_waiting


def test_sound_waits_only_for_what_was_overtaken() -> None:
    packets = voice(10)
    buffer = started(Codec.OPUS)
    order = [packets[0], packets[2], packets[1], packets[3], packets[5]]
    frames = run(buffer, order, now=0.0)
    assert [frame.timestamp for frame in frames] == [0, 960, 1920, 2880]
    assert buffer.poll(SOUND_WAIT_S / 2) == []
    (late,) = buffer.poll(SOUND_WAIT_S)
    assert (late.timestamp, late.lost_packets) == (4800, 1)
    assert buffer.receive(packets[4], SOUND_WAIT_S) == ()
    assert not buffer.needs_keyframe


def test_padding_is_no_gap() -> None:
    packets = vp8(film(3))
    packets[2].extended_sequence_number = 104
    buffer = started(Codec.VP8, hopeless)
    frames = run(buffer, packets[:2])
    frames += buffer.skip(102, 0.0)
    frames += buffer.skip(103, 0.0)
    frames += run(buffer, packets[2:])
    assert [frame.lost_packets for frame in frames] == [0, 0, 0]
    early = started(Codec.VP8, Hopes(101))
    assert len(run(early, packets[:1])) == 1
    assert not early.skip(102, 0.0)
    assert len(early.receive(packets[1], 0.0)) == 1
    assert not early.is_waiting


def test_a_sender_without_markers_is_told_apart_by_time() -> None:
    packets = vp8(film(5))
    for packet in packets:
        packet.marker = False
    frames = run(started(Codec.VP8), packets)
    assert [frame.timestamp for frame in frames] == [0, 3000, 6000, 9000]


def test_a_picture_without_its_beginning_ends_in_a_gap() -> None:
    packets = vp8(film(5) + film(1))
    packets[2].starts_frame = False
    buffer = started(Codec.VP8)
    frames = run(buffer, packets)
    assert [frame.timestamp for frame in frames] == [0, 3000, 15000]
    assert frames[2].lost_packets == 1


def test_a_new_start_forgets_what_waited() -> None:
    packets = vp8(film(6))
    buffer = started(Codec.VP8)
    run(buffer, [packets[0], packets[2], packets[3]])
    buffer.start(104)
    assert not buffer.is_waiting
    assert run(buffer, packets[1:2]) == []
    assert buffer.lost_packets == 0


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_damaged_h264_raises_nothing(payloads: list[bytes]) -> None:
    packets = [
        MediaPacket(100 + number, 0, False, payload, 0.0, is_keyframe=True, starts_frame=True)
        for number, payload in enumerate(payloads)
    ]
    packets.append(MediaPacket(100 + len(packets), 0, True, b"\x65\x80", 0.0, is_keyframe=True))
    for frame in run(started(Codec.H264), packets):
        frame_data(Codec.H264, frame.packets)
