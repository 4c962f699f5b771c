"""The bots' SDP: an offer with the web client's m-lines, and the few things they need from the answer."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID_URI = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID_URI = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_WIDE_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
EXTENSION_IDS = {
    AUDIO_LEVEL_URI: 1,
    ABS_SEND_TIME_URI: 2,
    TRANSPORT_WIDE_URI: 3,
    MID_URI: 4,
    RID_URI: 10,
    REPAIRED_RID_URI: 11,
}
OPUS, VP8, VP8_RTX = 111, 96, 97
VIDEO_FEEDBACK = ("goog-remb", "transport-cc", "ccm fir", "nack", "nack pli")


@dataclass(frozen=True, slots=True)
class OfferedLine:
    """One m-line of the offer: what it publishes (`source`), or which slot it is (`role`)."""

    kind: str
    source: str | None = None
    role: str | None = None
    rids: tuple[str, ...] = ()
    ssrcs: tuple[int, ...] = ()


def client_lines(
    *, thumbnails: int, camera_rids: tuple[str, ...] = ("l", "m", "h"), camera_ssrcs: tuple[int, ...] = ()
) -> list[OfferedLine]:
    """The web client's fixed order: four publications, three voices, stage, content, thumbnails."""
    return [
        OfferedLine("audio", source="microphone"),
        OfferedLine("video", source="camera", rids=camera_rids, ssrcs=camera_ssrcs),
        OfferedLine("video", source="content", rids=("l", "h")),
        OfferedLine("video", source="auxiliary", rids=("l", "m", "h")),
        *[OfferedLine("audio", role="voice") for _ in range(3)],
        OfferedLine("video", role="stage"),
        OfferedLine("video", role="content"),
        *[OfferedLine("video", role="thumbnail") for _ in range(thumbnails)],
    ]


@dataclass(frozen=True, slots=True)
class Offer:
    """The text, and what the `offer` message says beside it."""

    sdp: str
    publications: Mapping[str, str]
    slots: Mapping[str, str]


def build_offer(lines: Sequence[OfferedLine], *, ufrag: str, pwd: str, fingerprint: str) -> Offer:
    """An offer as Chromium writes it, down to what a selective forwarding unit reads."""
    mids = " ".join(str(mid) for mid in range(len(lines)))
    text = [
        "v=0",
        f"o=- {secrets.randbits(62)} 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        f"a=group:BUNDLE {mids}",
        "a=extmap-allow-mixed",
        "a=msid-semantic: WMS",
    ]
    for mid, line in enumerate(lines):
        text += _section(line, str(mid), ufrag, pwd, fingerprint)
    return Offer(
        sdp="\r\n".join(text) + "\r\n",
        publications={str(mid): line.source for mid, line in enumerate(lines) if line.source},
        slots={str(mid): line.role for mid, line in enumerate(lines) if line.role},
    )


def _section(line: OfferedLine, mid: str, ufrag: str, pwd: str, fingerprint: str) -> list[str]:
    formats = str(OPUS) if line.kind == "audio" else f"{VP8} {VP8_RTX}"
    uris = [TRANSPORT_WIDE_URI, MID_URI, ABS_SEND_TIME_URI]
    uris += [AUDIO_LEVEL_URI] if line.kind == "audio" else [RID_URI, REPAIRED_RID_URI]
    text = [
        f"m={line.kind} 9 UDP/TLS/RTP/SAVPF {formats}",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        f"a=ice-ufrag:{ufrag}",
        f"a=ice-pwd:{pwd}",
        "a=ice-options:trickle",
        f"a=fingerprint:sha-256 {fingerprint}",
        "a=setup:actpass",
        f"a=mid:{mid}",
        *[f"a=extmap:{EXTENSION_IDS[uri]} {uri}" for uri in uris],
        "a=sendonly" if line.source else "a=recvonly",
        *([f"a=msid:- {line.source}"] if line.source else []),
        "a=rtcp-mux",
        "a=rtcp-rsize",
    ]
    if line.kind == "audio":
        text += [
            f"a=rtpmap:{OPUS} opus/48000/2",
            f"a=rtcp-fb:{OPUS} transport-cc",
            f"a=fmtp:{OPUS} minptime=10;useinbandfec=1",
        ]
    else:
        text += [
            f"a=rtpmap:{VP8} VP8/90000",
            *[f"a=rtcp-fb:{VP8} {feedback}" for feedback in VIDEO_FEEDBACK],
            f"a=rtpmap:{VP8_RTX} rtx/90000",
            f"a=fmtp:{VP8_RTX} apt={VP8}",
        ]
    text += [f"a=ssrc:{ssrc} cname:bot" for ssrc in line.ssrcs]
    if line.rids:
        text += [f"a=rid:{rid} send" for rid in line.rids]
        text.append(f"a=simulcast:send {';'.join(line.rids)}")
    return text


@dataclass(slots=True)
class AnsweredLine:
    """One m-line of the answer."""

    mid: str = ""
    is_rejected: bool = False
    direction: str = "inactive"
    ssrcs: list[int] = field(default_factory=list)
    extension_ids: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Answer:
    """What a bot needs to connect and to know its streams."""

    ufrag: str = ""
    pwd: str = ""
    fingerprint: str = ""
    candidates: list[tuple[str, int]] = field(default_factory=list)
    lines: dict[str, AnsweredLine] = field(default_factory=dict)


def parse_answer(sdp: str) -> Answer:
    """Read an answer; UDP candidates only."""
    answer = Answer()
    current = AnsweredLine()
    for line in sdp.splitlines():
        name, _, value = line[2:].partition(":")
        if line.startswith("m="):
            current = AnsweredLine(is_rejected=line.split()[1] == "0")
        elif name == "mid":
            current.mid = value
            answer.lines[value] = current
        elif name == "ice-ufrag":
            answer.ufrag = value
        elif name == "ice-pwd":
            answer.pwd = value
        elif name == "fingerprint" and value.lower().startswith("sha-256 "):
            answer.fingerprint = value.split()[1]
        elif name == "candidate":
            fields = value.split()
            place = (fields[4], int(fields[5]))
            if fields[2].lower() == "udp" and place not in answer.candidates:
                answer.candidates.append(place)
        elif name in ("sendonly", "recvonly", "sendrecv", "inactive"):
            current.direction = name
        elif name == "ssrc-group" and value.startswith("FID "):
            # Whatever the order of the lines, the group names the media first, then its RTX.
            current.ssrcs = [int(ssrc) for ssrc in value.split()[1:]]
        elif name == "ssrc":
            ssrc = int(value.split()[0])
            if ssrc not in current.ssrcs:
                current.ssrcs.append(ssrc)
        elif name == "extmap":
            identifier, uri = value.split()[:2]
            current.extension_ids[uri] = int(identifier.split("/")[0])
    return answer
