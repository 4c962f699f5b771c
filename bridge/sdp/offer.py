"""Reads an SDP offer into what the bridge needs of it, in time linear to its length.

Values of an offer are checked against tight patterns here, because answers repeat some of them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NoReturn

from bridge.base.errors import NegotiationFailed

MID_URI = "urn:ietf:params:rtp-hdrext:sdes:mid"
RID_URI = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RID_URI = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
AUDIO_LEVEL_URI = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
TRANSPORT_WIDE_CC_URI = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
ABS_SEND_TIME_URI = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"

OFFER_CHARACTERS_MAX = 200_000
LINE_CHARACTERS_MAX = 8_000
SECTIONS_MAX = 128
SSRCS_MAX = 64

_KNOWN_URIS = {
    MID_URI,
    RID_URI,
    REPAIRED_RID_URI,
    AUDIO_LEVEL_URI,
    TRANSPORT_WIDE_CC_URI,
    ABS_SEND_TIME_URI,
}
_KNOWN_FEEDBACK = {"goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"}
_MEDIA_KINDS = {"audio", "video"}
_RTP_PROTOCOLS = {
    "UDP/TLS/RTP/SAVPF",
    "UDP/TLS/RTP/SAVP",
    "TCP/DTLS/RTP/SAVPF",
    "TCP/DTLS/RTP/SAVP",
    "RTP/SAVPF",
    "RTP/SAVP",
}
_DIGEST_BYTES = {"sha-256": 32, "sha-384": 48, "sha-512": 64}

_M_LINE = re.compile(r"([a-z]{1,32}) ([0-9]{1,5})(?:/[0-9]{1,5})? ([A-Za-z0-9/]{1,64}) (.+)")
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,64}")
_RID = re.compile(r"[A-Za-z0-9_-]{1,16}")
_RTPMAP = re.compile(r"([0-9]{1,3}) +([A-Za-z0-9_.-]{1,64})/([0-9]{1,7})(?:/([0-9]{1,3}))? *")
_NUMBERED = re.compile(r"([0-9]{1,3}|\*) +(.*)")
_EXTMAP = re.compile(r"([0-9]{1,5})(?:/([a-z]+))? +(\S+)(?: .*)?")
_SSRC = re.compile(r"([0-9]{1,10})(?: .*)?")
_ICE_UFRAG = re.compile(r"[A-Za-z0-9+/=_-]{4,256}")
_ICE_PWD = re.compile(r"[A-Za-z0-9+/=_-]{22,256}")
_FINGERPRINT = re.compile(r"([A-Za-z0-9-]{1,16}) +([0-9A-Fa-f]{2}(?::[0-9A-Fa-f]{2}){0,63})")
# Of what redundant audio consists (RFC 2198, 5).
_REDUNDANCY = re.compile(r"[0-9]{1,3}(?:/[0-9]{1,3}){1,31}")
_MSID = re.compile(r"(\S{1,128})(?: +(\S{1,128}))?")
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)")


class Direction(StrEnum):
    """Direction of an m-line, as the offerer sees it (RFC 8866, 6.7)."""

    SENDRECV = "sendrecv"
    SENDONLY = "sendonly"
    RECVONLY = "recvonly"
    INACTIVE = "inactive"

    @property
    def sends(self) -> bool:
        return self in (Direction.SENDRECV, Direction.SENDONLY)

    @property
    def receives(self) -> bool:
        return self in (Direction.SENDRECV, Direction.RECVONLY)

    @classmethod
    def of(cls, *, sends: bool, receives: bool) -> "Direction":
        if sends:
            return cls.SENDRECV if receives else cls.SENDONLY
        return cls.RECVONLY if receives else cls.INACTIVE


_DIRECTIONS = {direction.value: direction for direction in Direction}


@dataclass(frozen=True, slots=True)
class Codec:
    """One payload type; `name` is in lower case, `parameters` come from its fmtp line.

    The one that has no name, the payload types that redundant audio consists of, is called "redundancy".
    """

    payload_type: int
    name: str
    clock_rate_hz: int
    channels: int
    parameters: Mapping[str, str]
    feedback: frozenset[str]


@dataclass(frozen=True, slots=True)
class OfferedExtension:
    """A header extension (RFC 8285) with the direction in which the offerer wants to use it."""

    id: int
    direction: Direction


@dataclass(frozen=True, slots=True)
class Section:
    """One m-line with its attributes, as far as the bridge uses them.

    `is_rejected` covers what can only be answered with port zero: the offerer stopped it, it
    stands outside the BUNDLE group, has no rtcp-mux, or is not RTP. `rids` are the offerer's
    sending ones in the order of its simulcast line; `fid` maps an SSRC to its RTX SSRC.
    """

    index: int
    kind: str
    protocol: str
    formats: tuple[str, ...]
    mid: str
    has_mid: bool
    direction: Direction
    codecs: tuple[Codec, ...]
    extensions: Mapping[str, OfferedExtension]
    rids: tuple[str, ...]
    has_simulcast: bool
    # Whether feedback may come without a report before it (RFC 5506, 5).
    has_reduced_size: bool
    ssrcs: tuple[int, ...]
    fid: Mapping[int, int]
    stream_id: str | None
    track_id: str | None
    is_rejected: bool
    # It lost header extensions whose identifiers mean something else in another m-line.
    has_conflict: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A parsed offer; all its live sections share one ICE and DTLS association (RFC 9143).

    `fingerprints` are pairs of lower-case algorithm and upper-case colon-separated digest.
    `extensions` says for the whole association what each identifier means, without those that m-lines use
    for different things (against RFC 9143, 7.1.4): nobody could tell what such a one means in a packet.
    """

    ice_ufrag: str
    ice_pwd: str
    ice_options: frozenset[str]
    fingerprints: tuple[tuple[str, str], ...]
    setup: str
    bundle: tuple[str, ...]
    sections: tuple[Section, ...]
    extensions: Mapping[int, str]

    @property
    def dtls_role(self) -> str:
        """The bridge's role, "server" or "client"; server whenever the offer leaves the choice.

        As DTLS server the bridge decides on the SRTP profile and loses no first flight.
        """
        return "client" if self.setup == "passive" else "server"

    @property
    def has_reduced_size(self) -> bool:
        """Whether every live m-line, and so the association, takes feedback without a report before it."""
        return all(section.has_reduced_size for section in self.sections if not section.is_rejected)

    def section(self, mid: str) -> Section | None:
        return next((section for section in self.sections if section.mid == mid), None)


def parse_offer(text: str) -> Offer:
    """Parse an offer in time linear to its length; raises NegotiationFailed."""
    session, blocks = _split(text)
    bundle = _bundle(session)
    sections = tuple(
        _section(index, m_line, attributes, session, bundle)
        for index, (m_line, attributes) in enumerate(blocks)
    )
    if len({section.mid for section in sections}) != len(sections):
        fail("duplicate-mid", "Two m-lines have the same mid.")
    extensions = _meanings(sections)
    sections = tuple(_without_conflicts(section, extensions) for section in sections)
    transport = _transport_attributes(session, [attributes for _, attributes in blocks], sections)
    return Offer(
        ice_ufrag=_ice_value(transport, "ice-ufrag", _ICE_UFRAG),
        ice_pwd=_ice_value(transport, "ice-pwd", _ICE_PWD),
        ice_options=frozenset(option for line in transport.get("ice-options", ()) for option in line.split()),
        fingerprints=_fingerprints(transport),
        setup=_setup(transport),
        bundle=bundle or (),
        sections=sections,
        extensions=extensions,
    )


_Attributes = dict[str, list[str]]


def fail(reason: str, sentence: str) -> NoReturn:
    raise NegotiationFailed(f"negotiation-failed:{reason}", sentence)


def _fail_line(name: str, value: str) -> NoReturn:
    fail("malformed-line", f"The line {f'a={name}:{value}'[:80]!r} cannot be read.")


def _split(text: str) -> tuple[_Attributes, list[tuple[str, _Attributes]]]:
    """Split into the session's attributes and, per m-line, its value and attributes."""
    if len(text) > OFFER_CHARACTERS_MAX:
        fail("too-large", f"The offer is longer than {OFFER_CHARACTERS_MAX} characters.")
    if not text.startswith("v=0"):
        fail("malformed-line", "The offer does not begin with v=0.")
    if _CONTROL.search(text):
        fail("malformed-line", "The offer contains control characters.")
    session: _Attributes = {}
    blocks: list[tuple[str, _Attributes]] = []
    attributes = session
    for line in text.replace("\r\n", "\n").split("\n"):
        if not line:
            continue
        if len(line) > LINE_CHARACTERS_MAX:
            fail("too-large", f"A line is longer than {LINE_CHARACTERS_MAX} characters.")
        if line[1:2] != "=" or not "a" <= line[0] <= "z":
            fail("malformed-line", f"The line {line[:80]!r} is not of the form x=value.")
        if line[0] == "m":
            if len(blocks) == SECTIONS_MAX:
                fail("too-large", f"The offer has more than {SECTIONS_MAX} m-lines.")
            attributes = {}
            blocks.append((line[2:], attributes))
        elif line[0] == "a":
            name, _, value = line[2:].partition(":")
            attributes.setdefault(name, []).append(value.strip())
    return session, blocks


def _bundle(session: _Attributes) -> tuple[str, ...] | None:
    for line in session.get("group", ()):
        semantics, *mids = line.split()[: SECTIONS_MAX + 1] or [""]
        if semantics == "BUNDLE":
            return tuple(mid for mid in mids if _TOKEN.fullmatch(mid))
    return None


def _section(
    index: int, m_line: str, attributes: _Attributes, session: _Attributes, bundle: tuple[str, ...] | None
) -> Section:
    match = _M_LINE.fullmatch(m_line)
    formats = tuple(match[4].split()) if match else ()
    if not match or not formats or not all(map(_TOKEN.fullmatch, formats)):
        fail("malformed-section", f"The line {f'm={m_line}'[:80]!r} cannot be read.")
    kind, port, protocol = match[1], int(match[2]), match[3]
    mid = attributes.get("mid", [""])[0]
    if mid and not _TOKEN.fullmatch(mid):
        _fail_line("mid", mid)
    is_media = kind in _MEDIA_KINDS and protocol in _RTP_PROTOCOLS
    # A bundle-only m-line carries port zero and none of the attributes that all bundled lines
    # share, rtcp-mux among them (RFC 9143, 7.2; Firefox does so).
    is_bundle_only = port == 0 and "bundle-only" in attributes
    has_mux = is_bundle_only or "rtcp-mux" in attributes or "rtcp-mux-only" in attributes
    is_bundled = mid in bundle if bundle is not None else index == 0
    rids = _rids(attributes)
    stream_id, track_id = _msid(attributes)
    return Section(
        index=index,
        kind=kind,
        protocol=protocol,
        formats=formats,
        mid=mid or str(index),
        has_mid=bool(mid),
        direction=_direction(attributes) or _direction(session) or Direction.SENDRECV,
        codecs=_codecs(formats, attributes) if is_media else (),
        extensions=_extensions(attributes),
        rids=rids,
        has_simulcast="simulcast" in attributes,
        has_reduced_size="rtcp-rsize" in attributes or "rtcp-rsize" in session,
        ssrcs=_ssrcs(attributes),
        fid=_fid(attributes),
        stream_id=stream_id,
        track_id=track_id,
        is_rejected=not (is_media and has_mux and is_bundled and (port != 0 or is_bundle_only)),
    )


def _direction(attributes: _Attributes) -> Direction | None:
    return next((direction for name, direction in _DIRECTIONS.items() if name in attributes), None)


def _codecs(formats: Iterable[str], attributes: _Attributes) -> tuple[Codec, ...]:
    """Return the codecs with an rtpmap in the offerer's order of preference."""
    maps: dict[int, re.Match[str]] = {}
    for line in attributes.get("rtpmap", ()):
        match = _RTPMAP.fullmatch(line) or _fail_line("rtpmap", line)
        maps.setdefault(int(match[1]), match)
    parameters: dict[str, dict[str, str]] = {}
    for line in attributes.get("fmtp", ()):
        match = _NUMBERED.fullmatch(line) or _fail_line("fmtp", line)
        parameters.setdefault(match[1], {}).update(_parameters(match[2]))
    feedback: dict[str, set[str]] = {}
    for line in attributes.get("rtcp-fb", ()):
        match = _NUMBERED.fullmatch(line) or _fail_line("rtcp-fb", line)
        if match[2] in _KNOWN_FEEDBACK:
            feedback.setdefault(match[1], set()).add(match[2])
    payload_types = dict.fromkeys(int(f) for f in formats if f.isdecimal() and len(f) <= 3 and int(f) <= 127)
    return tuple(
        Codec(
            payload_type=payload_type,
            name=maps[payload_type][2].lower(),
            clock_rate_hz=int(maps[payload_type][3]),
            channels=int(maps[payload_type][4] or 1),
            parameters=parameters.get(str(payload_type), {}),
            feedback=frozenset(feedback.get(str(payload_type), set()) | feedback.get("*", set())),
        )
        for payload_type in payload_types
        if payload_type in maps
    )


def _parameters(value: str) -> Iterator[tuple[str, str]]:
    for part in value.split(";"):
        name, separator, setting = part.partition("=")
        if separator:
            yield name.strip().lower(), setting.strip()
        elif _REDUNDANCY.fullmatch(name.strip()):
            yield "redundancy", name.strip()


def _extensions(attributes: _Attributes) -> dict[str, OfferedExtension]:
    extensions: dict[str, OfferedExtension] = {}
    for line in attributes.get("extmap", ()):
        match = _EXTMAP.fullmatch(line) or _fail_line("extmap", line)
        extension_id, direction = int(match[1]), _DIRECTIONS.get(match[2] or "sendrecv")
        # 15 ends a one-byte extension block, and above 255 stand offers to choose from (RFC 8285).
        if match[3] in _KNOWN_URIS and direction and 1 <= extension_id <= 255 and extension_id != 15:
            extensions.setdefault(match[3], OfferedExtension(extension_id, direction))
    return extensions


def _rids(attributes: _Attributes) -> tuple[str, ...]:
    """Return the sending RIDs, in the order of the simulcast line, first alternatives only (RFC 8853)."""
    declared: dict[str, None] = {}
    for line in attributes.get("rid", ()):
        rid, direction, *_ = (*line.split(maxsplit=2), "", "")
        if not _RID.fullmatch(rid):
            _fail_line("rid", line)
        if direction == "send":
            declared[rid] = None
    for line in attributes.get("simulcast", ()):
        words = line.split()
        for direction, streams in zip(words[::2], words[1::2], strict=False):
            if direction == "send":
                firsts = (stream.split(",", 1)[0].lstrip("~") for stream in streams.split(";"))
                return tuple(dict.fromkeys(rid for rid in firsts if rid in declared))
    return tuple(declared)


def _ssrcs(attributes: _Attributes) -> tuple[int, ...]:
    ssrcs: dict[int, None] = {}
    for line in attributes.get("ssrc", ()):
        match = _SSRC.fullmatch(line) or _fail_line("ssrc", line)
        if len(ssrcs) < SSRCS_MAX:
            ssrcs[int(match[1]) & 0xFFFFFFFF] = None
    return tuple(ssrcs)


def _fid(attributes: _Attributes) -> dict[int, int]:
    groups: dict[int, int] = {}
    for line in attributes.get("ssrc-group", ()):
        words = line.split()
        if words[:1] != ["FID"] or len(words) != 3 or len(groups) == SSRCS_MAX:
            continue
        if not all(_SSRC.fullmatch(word) for word in words[1:]):
            _fail_line("ssrc-group", line)
        groups[int(words[1]) & 0xFFFFFFFF] = int(words[2]) & 0xFFFFFFFF
    return groups


def _msid(attributes: _Attributes) -> tuple[str | None, str | None]:
    match = _MSID.fullmatch(attributes.get("msid", [""])[0])
    return (match[1], match[2]) if match else (None, None)


def _meanings(sections: Iterable[Section]) -> dict[int, str]:
    """Return what each extension identifier means in all live sections that use it."""
    meanings: dict[int, set[str]] = {}
    for section in sections:
        if not section.is_rejected:
            for uri, extension in section.extensions.items():
                meanings.setdefault(extension.id, set()).add(uri)
    return {number: next(iter(uris)) for number, uris in meanings.items() if len(uris) == 1}


def _without_conflicts(section: Section, meanings: Mapping[int, str]) -> Section:
    agreed = {uri: ext for uri, ext in section.extensions.items() if meanings.get(ext.id) == uri}
    if agreed == section.extensions:
        return section
    return replace(section, extensions=agreed, has_conflict=not section.is_rejected)


def _transport_attributes(
    session: _Attributes, blocks: Sequence[_Attributes], sections: Sequence[Section]
) -> _Attributes:
    """Return the attributes of the first live section with ICE credentials over those of the session."""
    carriers = [block for block in blocks if "ice-ufrag" in block]
    live = [
        block
        for block, section in zip(blocks, sections, strict=True)
        if not section.is_rejected and "ice-ufrag" in block
    ]
    return {**session, **next(iter(live or carriers), {})}


def _ice_value(transport: _Attributes, name: str, pattern: re.Pattern[str]) -> str:
    value = transport.get(name, [""])[0]
    if not pattern.fullmatch(value):
        fail("missing-ice", f"The offer has no valid a={name}.")
    return value


def _fingerprints(transport: _Attributes) -> tuple[tuple[str, str], ...]:
    lines = transport.get("fingerprint", [])
    if not lines:
        fail("missing-fingerprint", "The offer has no a=fingerprint; media must be encrypted by DTLS-SRTP.")
    fingerprints: dict[tuple[str, str], None] = {}
    for line in lines[:16]:
        match = _FINGERPRINT.fullmatch(line) or _fail_line("fingerprint", line)
        algorithm, digest = match[1].lower(), match[2].upper()
        if _DIGEST_BYTES.get(algorithm) == (len(digest) + 1) // 3:
            fingerprints[algorithm, digest] = None
    if not fingerprints:
        fail("unsupported-fingerprint", "The offer has no SHA-256, SHA-384 or SHA-512 fingerprint.")
    return tuple(fingerprints)


def _setup(transport: _Attributes) -> str:
    setup = transport.get("setup", ["actpass"])[0]
    if setup not in ("actpass", "active", "passive"):
        fail("unsupported-setup", f"The DTLS role {setup[:20]!r} cannot be answered.")
    return setup
