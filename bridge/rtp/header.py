"""RTP headers (RFC 3550, 5.1) with the header extensions that the bridge reads (RFC 8285).

A packet is parsed once, at the door; everyone behind it reads the fields. The bytes are kept as
they came: what leaves the bridge is written by the transport's fan-out or by `build_rtp`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct

from bridge.base.errors import MalformedPacket

HEADER_BYTES = 12
_ONE_BYTE_FORM = 0xBEDE
_TWO_BYTE_FORM = 0x1000

_HEADER = Struct("!BBHII")
_EXTENSION_HEADER = Struct("!HH")
_unpack_header = _HEADER.unpack_from
_unpack_extension_header = _EXTENSION_HEADER.unpack_from


class Extension(IntEnum):
    """The header extensions that mean something to the bridge."""

    MID = 0
    RID = 1
    REPAIRED_RID = 2
    AUDIO_LEVEL = 3
    TRANSPORT_SEQUENCE_NUMBER = 4
    ABS_SEND_TIME = 5


EXTENSION_URIS: dict[str, Extension] = {
    "urn:ietf:params:rtp-hdrext:sdes:mid": Extension.MID,
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id": Extension.RID,
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id": Extension.REPAIRED_RID,
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level": Extension.AUDIO_LEVEL,
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01": (
        Extension.TRANSPORT_SEQUENCE_NUMBER
    ),
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time": Extension.ABS_SEND_TIME,
}

# Module names are found faster than attributes of an enum, and these are read for every packet.
_MID = Extension.MID
_RID = Extension.RID
_REPAIRED_RID = Extension.REPAIRED_RID
_AUDIO_LEVEL = Extension.AUDIO_LEVEL
_TRANSPORT_SEQUENCE_NUMBER = Extension.TRANSPORT_SEQUENCE_NUMBER
_ABS_SEND_TIME = Extension.ABS_SEND_TIME


class ExtensionIds:
    """What the ids of header extensions mean in the packets of one association.

    Ids outside 1..255 cannot stand in a packet (an offer may propose 4096 and up, RFC 8285, 6):
    they are left out, as if the extension had not been negotiated.
    """

    __slots__ = ("by_id",)

    def __init__(self, meanings: Mapping[int, Extension]) -> None:
        self.by_id = tuple(meanings.get(number) if number else None for number in range(256))


@dataclass(slots=True)
class RtpPacket:
    """One RTP packet: its bytes, the fields of its header, and where its payload lies."""

    data: bytes
    marker: bool
    payload_type: int
    sequence_number: int
    timestamp: int
    ssrc: int
    payload_offset: int
    # Padding is not part of the payload: a padding-only packet ends where its payload begins.
    payload_end: int
    mid: str | None = None
    rid: str | None = None
    repaired_rid: str | None = None
    # RFC 6464: 0 is the loudest, 127 silence (-dBov). Browsers always say that it is voice (V), other
    # encoders never: that is passed on to those who show it, and nothing here is judged by it.
    audio_level: int | None = None
    is_voice: bool = False
    transport_sequence_number: int | None = None
    # 24 bits, 6.18 fixed point seconds.
    abs_send_time: int | None = None

    @property
    def payload(self) -> bytes:
        """A copy of the payload, without padding."""
        return self.data[self.payload_offset : self.payload_end]


def parse_rtp(data: bytes, ids: ExtensionIds) -> RtpPacket:
    """Read one decrypted RTP packet; raises `MalformedPacket`.

    Elements with unknown ids, or of a length that their extension does not have, are skipped.
    """
    size_bytes = len(data)
    if size_bytes < 12:
        raise MalformedPacket("shorter than an RTP header")
    first, second, sequence_number, timestamp, ssrc = _unpack_header(data)
    if first & 0xC0 != 0x80:
        raise MalformedPacket("not RTP version 2")
    offset = 12 + 4 * (first & 0x0F)
    mid = rid = repaired_rid = audio_level = transport_sequence_number = abs_send_time = None
    is_voice = False

    if first & 0x10:
        position = offset + 4
        if position > size_bytes:
            raise MalformedPacket("header extension is cut off")
        form, words = _unpack_extension_header(data, offset)
        offset = position + 4 * words
        if offset > size_bytes:
            raise MalformedPacket("header extension is cut off")
        # The lower four bits of the two-byte form are for the application (RFC 8285, 4.3).
        is_one_byte_form = form == _ONE_BYTE_FORM
        if is_one_byte_form or form & 0xFFF0 == _TWO_BYTE_FORM:
            by_id = ids.by_id
            while position < offset:
                number = data[position]
                start = position + 1
                if number == 0:
                    position = start
                    continue
                if is_one_byte_form:
                    length = (number & 0x0F) + 1
                    number >>= 4
                    # 15 ends the elements; so does 0 with a length (RFC 8285, 4.2).
                    if number == 15 or number == 0:
                        break
                else:
                    if start == offset:
                        raise MalformedPacket("header extension element is cut off")
                    length = data[start]
                    start += 1
                position = start + length
                if position > offset:
                    raise MalformedPacket("header extension element is cut off")
                extension = by_id[number]
                if extension is None:
                    continue
                if extension is _TRANSPORT_SEQUENCE_NUMBER:
                    if length == 2:
                        transport_sequence_number = data[start] << 8 | data[start + 1]
                elif extension is _AUDIO_LEVEL:
                    if length == 1:
                        audio_level = data[start] & 0x7F
                        is_voice = data[start] > 0x7F
                elif extension is _MID:
                    mid = _text(data, start, position)
                elif extension is _RID:
                    rid = _text(data, start, position)
                elif extension is _REPAIRED_RID:
                    repaired_rid = _text(data, start, position)
                elif length == 3:
                    abs_send_time = data[start] << 16 | data[start + 1] << 8 | data[start + 2]

    end = size_bytes
    if first & 0x20:
        padding_bytes = data[-1]
        end -= padding_bytes
        if padding_bytes == 0:
            raise MalformedPacket("padding of no bytes")
    if offset > end:
        raise MalformedPacket("header or padding longer than the packet")
    return RtpPacket(
        data,
        second > 127,
        second & 0x7F,
        sequence_number,
        timestamp,
        ssrc,
        offset,
        end,
        mid,
        rid,
        repaired_rid,
        audio_level,
        is_voice,
        transport_sequence_number,
        abs_send_time,
    )


def _text(data: bytes, start: int, end: int) -> str:
    try:
        return data[start:end].decode("ascii")
    except UnicodeDecodeError:
        raise MalformedPacket("mid or rid is not ASCII") from None


def build_rtp(
    *,
    payload_type: int,
    sequence_number: int,
    timestamp: int,
    ssrc: int,
    marker: bool,
    payload: bytes,
    extensions: Mapping[int, bytes] | None = None,
    csrcs: Sequence[int] = (),
    padding_bytes: int = 0,
) -> bytes:
    """Return the bytes of one RTP packet.

    `sequence_number` and `timestamp` are taken modulo 2^16 and 2^32; `extensions` maps ids to
    elements and gets the one-byte form if it fits. Raises ValueError if a field does not fit.
    """
    if not 0 <= payload_type < 128 or len(csrcs) > 15 or not 0 <= padding_bytes < 256:
        raise ValueError("payload type, CSRC count or padding does not fit")
    first = 0x80 | bool(padding_bytes) << 5 | bool(extensions) << 4 | len(csrcs)
    if not 0 <= ssrc < 1 << 32 or any(not 0 <= csrc < 1 << 32 for csrc in csrcs):
        raise ValueError("SSRC or CSRC does not fit")
    header = _HEADER.pack(
        first, marker << 7 | payload_type, sequence_number & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc
    )
    parts = [header, *(csrc.to_bytes(4, "big") for csrc in csrcs)]
    if extensions:
        parts.append(_extension_block(extensions))
    parts.append(payload)
    if padding_bytes:
        parts.append(bytes(padding_bytes - 1) + bytes((padding_bytes,)))
    return b"".join(parts)


def _extension_block(extensions: Mapping[int, bytes]) -> bytes:
    is_one_byte_form = all(0 < n < 15 and 0 < len(value) <= 16 for n, value in extensions.items())
    elements = bytearray()
    for number, value in extensions.items():
        if not 0 < number < 256 or len(value) > 255:
            raise ValueError("header extension does not fit")
        if is_one_byte_form:
            elements.append(number << 4 | len(value) - 1)
        else:
            elements += bytes((number, len(value)))
        elements += value
    elements += bytes(-len(elements) % 4)
    form = _ONE_BYTE_FORM if is_one_byte_form else _TWO_BYTE_FORM
    return _EXTENSION_HEADER.pack(form, len(elements) // 4) + bytes(elements)
