"""How much sound an Opus packet holds (RFC 6716, 3.1 and 3.2)."""

_SILK_MS = (10.0, 20.0, 40.0, 60.0)
_HYBRID_MS = (10.0, 20.0)
_CELT_MS = (2.5, 5.0, 10.0, 20.0)
PACKET_MS_MAX = 120.0


def duration_ms(payload: bytes) -> float:
    """Return the duration of a packet; 0 for one that holds nothing or more than a packet may."""
    if not payload:
        return 0.0
    toc = payload[0]
    config = toc >> 3
    if config < 12:
        frame_ms = _SILK_MS[config & 3]
    elif config < 16:
        frame_ms = _HYBRID_MS[config & 1]
    else:
        frame_ms = _CELT_MS[config & 3]
    count = toc & 3
    if count == 3:
        frames = payload[1] & 0x3F if len(payload) > 1 else 0
    else:
        frames = 2 if count else 1
    whole_ms = frames * frame_ms
    return whole_ms if whole_ms <= PACKET_MS_MAX else 0.0
