"""How much sound an Opus packet holds (RFC 6716, 3.1 and 3.2)."""

# Of RTP, whatever the encoder was fed with (RFC 7587, 4.1).
CLOCK_RATE_HZ = 48_000

_SILK_MS = (10.0, 20.0, 40.0, 60.0)
_HYBRID_MS = (10.0, 20.0)
_CELT_MS = (2.5, 5.0, 10.0, 20.0)
PACKET_MS_MAX = 120.0
# Of the shortest.
PACKETS_PER_S_MAX = 400.0


def duration_ms(payload: bytes) -> float:
    """Return the duration of a packet; 0 for one that holds nothing or more than a packet may."""
    if not payload:
        return 0.0
    whole_ms = _frame_ms(payload[0] >> 3) * _frame_count(payload)
    return whole_ms if whole_ms <= PACKET_MS_MAX else 0.0


def _frame_ms(config: int) -> float:
    if config < 12:
        return _SILK_MS[config & 3]
    return _HYBRID_MS[config & 1] if config < 16 else _CELT_MS[config & 3]


def _frame_count(payload: bytes) -> int:
    code = payload[0] & 3
    if code < 3:
        return 2 if code else 1
    return payload[1] & 0x3F if len(payload) > 1 else 0
