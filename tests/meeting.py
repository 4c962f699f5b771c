"""A room of clients in virtual time, over the real forwarding unit and `network.MemoryPort`."""

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from network import Link, MemoryPort, Network
from receivers import SlotReceiver, clock_rate_hz
from streams import (
    ABS_SEND_TIME_ID,
    AUDIO_LEVEL_ID,
    H264,
    H264_RTX,
    MID_ID,
    NTP_SECOND,
    OPUS,
    RED,
    REPAIRED_RID_ID,
    RID_ID,
    TRANSPORT_CC_ID,
    VP8,
    VP8_RTX,
    VideoEncoding,
    Voice,
)

from bridge.base.counters import DropReason, SfuCounters
from bridge.base.words import SlotRole, Source
from bridge.leg.leg import Leg
from bridge.leg.publication import Publication
from bridge.leg.slot import Slot
from bridge.media.feedback import ArrivalLog
from bridge.rtp import rtcp
from bridge.rtp.header import Extension, ExtensionIds, parse_rtp
from bridge.sfu import TICK_S, Sfu

ALL_SOURCES = (Source.MICROPHONE, Source.CAMERA)
RECEIVER_TICK_S = 0.01
REPORT_S = 1.0
# As browsers do at the rate of a picture of full size.
FEEDBACK_S = 0.05
VIDEO_RATE_HZ = 30.0
VOICE_S = 0.02
SLOT_IDS = ExtensionIds(
    {
        ABS_SEND_TIME_ID: Extension.ABS_SEND_TIME,
        AUDIO_LEVEL_ID: Extension.AUDIO_LEVEL,
        TRANSPORT_CC_ID: Extension.TRANSPORT_SEQUENCE_NUMBER,
    }
)
FINGERPRINT = "sha-256 " + ":".join(["CD"] * 32)
SEND_MIDS = {Source.MICROPHONE: "0", Source.CAMERA: "1", Source.CONTENT: "2", Source.AUXILIARY: "3"}
RIDS = {Source.CAMERA: ("l", "m", "h"), Source.CONTENT: ("l", "h"), Source.AUXILIARY: ("l", "m", "h")}
_SSRCS = re.compile(r"^a=ssrc:(\d+) cname", re.M)
_FID = re.compile(r"^a=ssrc-group:FID (\d+) (\d+)", re.M)


def offer(
    sending: Mapping[str, tuple[str, Sequence[str], Sequence[str]]],
    receiving: Mapping[str, tuple[str, Sequence[str]]],
    *,
    has_rtx: bool = True,
    tells_arrivals: bool = True,
    ice: tuple[str, str] = ("clie", "client-password-of-24-ch"),
    fingerprint: str = FINGERPRINT,
) -> str:
    """Write an offer: `sending` is kind, codecs and RIDs by MID, `receiving` kind and codecs.

    Who tells of no arrivals offers to tell its own estimate (REMB) alone, for what it receives.
    """
    sections = {
        **{mid: (kind, codecs, rids, "sendonly") for mid, (kind, codecs, rids) in sending.items()},
        **{mid: (kind, codecs, (), "recvonly") for mid, (kind, codecs) in receiving.items()},
    }
    lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", f"a=group:BUNDLE {' '.join(sections)}"]
    for mid, (kind, codecs, rids, direction) in sections.items():
        section = _section(mid, kind, codecs, rids, direction, has_rtx)
        if direction == "recvonly" and not tells_arrivals:
            section = [line for line in section if "transport-" not in line]
        lines += section
        lines += [
            f"a=ice-ufrag:{ice[0]}",
            f"a=ice-pwd:{ice[1]}",
            f"a=fingerprint:{fingerprint}",
            "a=setup:actpass",
        ]
    return "\r\n".join((*lines, ""))


def _section(
    mid: str, kind: str, codecs: Sequence[str], rids: Sequence[str], direction: str, has_rtx: bool
) -> list[str]:
    numbers = {"opus": (OPUS, 0), "red": (RED, 0), "vp8": (VP8, VP8_RTX), "h264": (H264, H264_RTX)}
    names = {"opus": "opus/48000/2", "red": "red/48000/2", "vp8": "VP8/90000", "h264": "H264/90000"}
    formats = [number for name in codecs for number in numbers[name] if number and (has_rtx or number in
               (OPUS, RED, VP8, H264))]  # fmt: skip
    extensions = {
        MID_ID: "urn:ietf:params:rtp-hdrext:sdes:mid",
        ABS_SEND_TIME_ID: "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
        TRANSPORT_CC_ID: "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    }
    if kind == "audio":
        extensions[AUDIO_LEVEL_ID] = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
    else:
        extensions[RID_ID] = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
        extensions[REPAIRED_RID_ID] = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
    lines = [
        f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, formats))}",
        "c=IN IP4 0.0.0.0",
        f"a=mid:{mid}",
        f"a={direction}",
        "a=rtcp-mux",
        "a=rtcp-rsize",
        *(f"a=extmap:{number} {uri}" for number, uri in extensions.items()),
    ]
    for name in codecs:
        number, rtx = numbers[name]
        lines.append(f"a=rtpmap:{number} {names[name]}")
        lines += [
            f"a=rtcp-fb:{number} {what}"
            for what in ("nack", "nack pli", "ccm fir", "goog-remb", "transport-cc")
        ]
        if name == "h264":
            lines.append(f"a=fmtp:{number} packetization-mode=1;profile-level-id=42e01f")
        if name == "red":
            lines.append(f"a=fmtp:{number} {OPUS}/{OPUS}")
        if has_rtx and rtx:
            lines += [f"a=rtpmap:{rtx} rtx/90000", f"a=fmtp:{rtx} apt={number}"]
    if rids:
        lines += [*(f"a=rid:{rid} send" for rid in rids), f"a=simulcast:send {';'.join(rids)}"]
    return lines


class Client:
    """One participant: encoders, jitter buffers, and a path in each direction."""

    def __init__(
        self,
        meeting: "Meeting",
        name: str,
        *,
        sources: Sequence[Source] = ALL_SOURCES,
        codec: str = "vp8",
        slot_codecs: Sequence[str] = ("vp8", "h264"),
        voices: int = 3,
        pictures: Sequence[SlotRole] = (SlotRole.STAGE, SlotRole.CONTENT),
        thumbnails: int = 0,
        has_rtx: bool = True,
        has_red: bool = False,
        tells_arrivals: bool = True,
        rate_hz: float = VIDEO_RATE_HZ,
        is_device: bool = False,
    ) -> None:
        network = meeting.network
        self.name = name
        self.meeting = meeting
        self.codec = codec
        self.has_rtx = has_rtx
        self.has_red = has_red
        self.tells_arrivals = tells_arrivals
        self.rate_hz = rate_hz
        self.is_gone = False
        # What the leg reported.
        self.connected = 0
        self.closed_reason: str | None = None
        self.live: dict[Source, bool] = {}
        self.layers: list[tuple[float, dict[str, list[str]]]] = []
        self.slots_changes = 0
        self.cuts: list[bool] = []
        # When each encoding was asked for a key frame, by RID.
        self.plis: list[tuple[float, Source, str]] = []
        self.nacks_received = 0
        self.obeys_layers = True
        self.remb_bps: int | None = None
        self._remb_sent = 0.0
        # How often this client's streams are reported; infinite for a device that reports nothing.
        self.sender_report_s = 0.0
        self._sender_report_due = 0.0
        # This client's own clock: nothing to do with anybody else's.
        self.ntp_at_zero = network.random.getrandbits(50) << 12
        self.up = Link(network, self._arrive_at_bridge)
        self.down = Link(network, self._receive)
        roles = [SlotRole.VOICE] * voices + list(pictures) + [SlotRole.THUMBNAIL] * thumbnails
        self.slot_roles = {str(number): role for number, role in enumerate(roles, start=10)}
        self.mids = {SEND_MIDS[source]: source for source in sources}
        self.voice: Voice | None = None
        self.encodings: dict[Source, dict[str, VideoEncoding]] = {}
        for source in sources:
            self.start_sending(source)
        self.leg: Leg = meeting.router.create_leg(name, self, is_device=is_device)
        self.transport: Any = self.leg.transport
        self.receivers: dict[str, SlotReceiver] = {}
        self.arrivals = ArrivalLog()
        self._receiver_by_ssrc: dict[int, tuple[SlotReceiver, bool]] = {}
        self._read_answer(self.leg.negotiate(self._offer(slot_codecs), self.mids, self.slot_roles))
        self._transport_numbers = itertools.count(meeting.network.random.getrandbits(16))
        # Clients do not act in step.
        phase_s = network.random.random() * 0.01
        network.every(1 / rate_hz, self._capture, phase_s=phase_s)
        network.every(VOICE_S, self._speak, phase_s=phase_s)
        network.every(RECEIVER_TICK_S, self._repair, phase_s=phase_s)
        network.every(REPORT_S, self._report, phase_s=phase_s + 0.3)
        network.every(FEEDBACK_S, self._tell_arrivals, phase_s=phase_s)

    # LegObserver.

    def leg_connected(self) -> None:
        self.connected += 1

    def leg_closed(self, reason: str) -> None:
        assert self.closed_reason is None, "closed twice"
        self.closed_reason = reason

    def publication_live(self, source: Source, is_live: bool) -> None:
        self.live[source] = is_live

    def layers_wanted(self, layers: Mapping[str, list[str]]) -> None:
        self.layers.append((self.meeting.network.now, dict(layers)))
        if not self.obeys_layers:
            return
        for mid, rids in layers.items():
            for rid, encoding in self.encodings[self.mids[mid]].items():
                # The message and the browser take their time.
                self.meeting.network.call_later(0.05, setattr, encoding, "is_active", rid in rids)

    def slots_changed(self) -> None:
        self.slots_changes += 1

    def line_cut(self, is_cut: bool) -> None:
        self.cuts.append(is_cut)

    # What a test does.

    def start_sending(self, source: Source) -> None:
        """Begin, or begin anew with other SSRCs, as a reloaded page or replaced encoder does."""
        meeting, mid = self.meeting, SEND_MIDS[source]
        if source is Source.MICROPHONE:
            self.voice = Voice(mid=mid, ssrc=meeting.new_ssrc(self, source, ""), numbers=meeting.number())
            return
        rids = RIDS[source] if self.codec == "vp8" else ("",)
        self.encodings[source] = {
            rid: VideoEncoding(
                mid=mid,
                rid=rid,
                ssrc=meeting.new_ssrc(self, source, rid),
                codec=self.codec,
                has_rtx=self.has_rtx,
                numbers=meeting.number(),
            )
            for rid in rids
        }

    def connect(self) -> None:
        self.transport.connect(self.down)

    def publication(self, source: Source = Source.CAMERA) -> Publication:
        publication = self.leg.publication(source)
        assert publication is not None
        return publication

    def slot(self, role: SlotRole = SlotRole.STAGE, index: int = 0) -> Slot:
        return self.leg.slots(role)[index]

    def receiver(self, role: SlotRole = SlotRole.STAGE, index: int = 0) -> SlotReceiver:
        return self.receivers[self.slot(role, index).mid]

    def show(
        self,
        other: "Client | None",
        role: SlotRole = SlotRole.STAGE,
        index: int = 0,
        source: Source = Source.CAMERA,
    ) -> None:
        self.leg.show(self.slot(role, index), None if other is None else other.publication(source))

    def sees(self, role: SlotRole = SlotRole.STAGE, index: int = 0) -> tuple[str, str] | None:
        """Whose picture came last, and in which encoding."""
        pictures = self.receiver(role, index).pictures
        if not pictures:
            return None
        name, _, rid = self.meeting.origins[pictures[-1].ssrc]
        return name, rid

    def hears(self) -> set[str]:
        """Whose voices came within the last 100 ms."""
        now = self.meeting.network.now
        return {
            self.meeting.origins[receiver.pictures[-1].ssrc][0]
            for receiver in self.receivers.values()
            if not receiver.is_video and receiver.pictures and now - receiver.pictures[-1].shown < 0.1
        }

    def complaints(self) -> list[str]:
        return [
            f"{self.name} {self.slot_roles[mid].value} {mid}: {complaint}"
            for mid, receiver in self.receivers.items()
            for complaint in receiver.complaints()
        ]

    def ntp(self, captured: float) -> int:
        return self.ntp_at_zero + round(captured * NTP_SECOND) & 0xFFFFFFFFFFFFFFFF

    def send_rtp(self, data: bytes) -> None:
        if not self.is_gone:
            self.up.send(data)

    def send_rtcp(self, *packets: Any) -> None:
        if not self.is_gone:
            self.up.send(b"".join(packet.pack() for packet in packets))

    def leave(self) -> None:
        self.is_gone = True
        self.leg.close("left")

    # Sending.

    def offer_again(self) -> str:
        """Write the same offer with other ICE credentials: a restart, after a change of network."""
        return self._offer(("vp8", "h264"), ice=("clia", "another-password-of-24-c"))

    def _offer(
        self, slot_codecs: Sequence[str], ice: tuple[str, str] = ("clie", "client-password-of-24-ch")
    ) -> str:
        sounds = ("opus", "red") if self.has_red else ("opus",)
        sending = {
            mid: ("audio", sounds, ())
            if source is Source.MICROPHONE
            else ("video", (self.codec,), RIDS[source] if self.codec == "vp8" else ())
            for mid, source in self.mids.items()
        }
        receiving = {
            mid: ("audio", sounds) if role is SlotRole.VOICE else ("video", slot_codecs)
            for mid, role in self.slot_roles.items()
        }
        return offer(sending, receiving, has_rtx=self.has_rtx, tells_arrivals=self.tells_arrivals, ice=ice)

    def _read_answer(self, answer: str) -> None:
        for block in answer.split("\r\nm=")[1:]:
            mid = re.search(r"^a=mid:(\S+)", block, re.M)
            assert mid is not None
            if mid[1] not in self.slot_roles:
                if block.startswith(f"audio 9 UDP/TLS/RTP/SAVPF {RED} {OPUS}\r\n") and self.voice is not None:
                    # As browsers do where it stands first in the answer.
                    self.voice.distance = 1
                continue
            fid = _FID.search(block)
            ssrcs = [int(found) for found in _SSRCS.findall(block)]
            rtx_ssrc = int(fid[2]) if fid else None
            is_video = self.slot_roles[mid[1]] is not SlotRole.VOICE
            receiver = SlotReceiver(
                mid=mid[1],
                ssrc=int(fid[1]) if fid else ssrcs[0],
                rtx_ssrc=rtx_ssrc,
                is_video=is_video,
                clock_rate_hz=clock_rate_hz(is_video),
            )
            self.receivers[mid[1]] = receiver
            self._receiver_by_ssrc[receiver.ssrc] = receiver, False
            if rtx_ssrc is not None:
                self._receiver_by_ssrc[rtx_ssrc] = receiver, True

    def _capture(self) -> None:
        if self.is_gone or self.transport.down is None:
            return
        now = self.meeting.network.now
        for encodings in self.encodings.values():
            for encoding in encodings.values():
                for data in encoding.picture(now, self.rate_hz):
                    self.send_rtp(data)

    def _speak(self) -> None:
        if self.voice is not None and not self.is_gone and self.transport.down is not None:
            self.send_rtp(self.voice.frame(self.meeting.network.now))

    def _arrive_at_bridge(self, data: bytes) -> None:
        if not self.is_gone:
            self.transport.receive(data)

    # Receiving.

    def _receive(self, data: bytes) -> None:
        now = self.meeting.network.now
        if rtcp.is_rtcp(data):
            packets, is_damaged = rtcp.parse_rtcp(data)
            assert not is_damaged, "the bridge sent RTCP that cannot be read"
            for packet in packets:
                self._feedback(packet, now)
            return
        packet = parse_rtp(data, SLOT_IDS)
        if packet.transport_sequence_number is not None:
            assert self.tells_arrivals, "a number was told that was not agreed on"
            self.arrivals.add(packet.transport_sequence_number, now)
        receiver, is_repeated = self._receiver_by_ssrc[packet.ssrc]
        if is_repeated:
            assert packet.payload_type in (VP8_RTX, H264_RTX)
            receiver.receive_repeated(packet, now)
        else:
            assert packet.payload_type in ((OPUS, RED, VP8, H264) if self.has_red else (OPUS, VP8, H264))
            receiver.receive(packet, now)

    def _feedback(self, packet: Any, now: float) -> None:
        match packet:
            case rtcp.PictureLossIndication():
                for source, encodings in self.encodings.items():
                    for encoding in encodings.values():
                        if encoding.ssrc == packet.media_ssrc:
                            self.plis.append((now, source, encoding.rid))
                            encoding.wants_keyframe = True
            case rtcp.FullIntraRequest():
                for ssrc, _ in packet.entries:
                    self._feedback(rtcp.PictureLossIndication(packet.sender_ssrc, ssrc), now)
            case rtcp.Nack():
                for encodings in self.encodings.values():
                    for encoding in encodings.values():
                        if encoding.ssrc == packet.media_ssrc:
                            self._repeat(encoding, packet.sequence_numbers)
            case rtcp.SenderReport():
                receiver, _ = self._receiver_by_ssrc[packet.ssrc]
                receiver.reports.append((now, packet))
                receiver.reception.sender_report_received(packet.ntp, now)
            case _:
                pass

    def _repeat(self, encoding: VideoEncoding, numbers: Sequence[int]) -> None:
        self.nacks_received += len(numbers)
        for number in numbers:
            data = encoding.repeat(number)
            if data is not None:
                self.send_rtp(data)

    def _repair(self) -> None:
        now = self.meeting.network.now
        for receiver in self.receivers.values():
            if not receiver.is_video:
                continue
            numbers = receiver.numbers_to_request(now)
            if numbers:
                self.send_rtcp(rtcp.Nack(1, receiver.ssrc, tuple(numbers)))
            if receiver.needs_keyframe(now):
                self.send_rtcp(rtcp.PictureLossIndication(1, receiver.ssrc))

    def _tell_arrivals(self) -> None:
        if not self.is_gone and self.transport.down is not None:
            for data in self.arrivals.build(self.meeting.network.now, 1, 2):
                self.up.send(data)

    def _report(self) -> None:
        if self.is_gone or self.transport.down is None:
            return
        now = self.meeting.network.now
        blocks = [one.reception.report_block(now) for one in self.receivers.values() if one.heard]
        for start in range(0, len(blocks), 31):
            self.send_rtcp(rtcp.ReceiverReport(1, tuple(blocks[start : start + 31])))
        streams = [one.stream for group in self.encodings.values() for one in group.values() if one.pictures]
        if self.voice is not None:
            streams.append(self.voice.stream)
        if now < self._sender_report_due:
            return
        self._sender_report_due = now + self.sender_report_s
        for stream in streams:
            self.up.send(stream.sender_report(self.ntp(now), now))
        if self.remb_bps is not None:
            ssrcs = tuple(one.ssrc for one in self.receivers.values())
            self.send_rtcp(rtcp.ReceiverEstimatedMaximumBitrate(1, self.remb_bps, ssrcs))


class Meeting:
    """One node with one room. Nobody is shown anything until the test says so."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.counters = SfuCounters()
        self.port = MemoryPort(network)
        self.sfu = Sfu(
            port=self.port,  # type: ignore[arg-type]
            counters=self.counters,
            clock=network.time,
            wall_clock=lambda: 1_800_000_000.0,
        )
        self.dominants: list[str | None] = []
        self.voices: tuple[str, ...] = ()
        self.router = self.sfu.create_router(self)
        self.clients: dict[str, Client] = {}
        # Whose each SSRC is: name, source, RID.
        self.origins: dict[int, tuple[str, Source, str]] = {}
        self._ssrcs = itertools.count(0x1000, 2)
        network.every(TICK_S, self._poll)

    def dominant_speaker_changed(self, leg_id: str | None) -> None:
        self.dominants.append(leg_id)

    def voices_changed(self, leg_ids: tuple[str, ...]) -> None:
        self.voices = leg_ids

    def new_ssrc(self, client: Client, source: Source, rid: str) -> int:
        ssrc = next(self._ssrcs)
        self.origins[ssrc] = client.name, source, rid
        return ssrc

    def number(self) -> int:
        """Where a sender's numbers begin: near a wrap as often as not."""
        random = self.network.random
        return random.choice((random.getrandbits(16), 0xFFFF - random.getrandbits(7)))

    def join(self, name: str, *, connects: bool = True, **options: Any) -> Client:
        client = self.clients[name] = Client(self, name, **options)
        if connects:
            client.connect()
        return client

    def run(self, seconds: float) -> None:
        self.network.run(seconds)

    def dropped(self) -> dict[str, int]:
        return {reason.value: count for reason, count in self.counters.dropped.items() if count}

    def drops(self, reason: DropReason) -> int:
        return self.counters.dropped[reason]

    def _poll(self) -> None:
        for router in list(self.sfu.routers):
            router.poll(self.network.now)
