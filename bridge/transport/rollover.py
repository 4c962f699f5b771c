"""Streams whose sequence numbers wrapped before their first packet came in (RFC 3711, 3.3.1).

A sender that starts at 65,500 and whose first packets are lost counts one rollover where we count none:
every packet of the stream fails authentication from then on, while ICE and DTLS are well. Neither side can
tell the other. So when packets of an unknown SSRC fail again and again, we take the stream to have wrapped
once, then twice and so on, and see whether that fits.

libsrtp as bundled with pylibsrtp has no call that sets the count. But who has the keys can write the
packets that would have led there, and have them taken in: without a payload, seen by nobody.
"""

import struct
from typing import Final

from bridge.transport.srtp import CData, Keys, remove_stream, take_in

# Statuses of libsrtp that a wrong count ends in: failed authentication or, by cipher, decryption.
UNAUTHENTIC: Final = frozenset({7, 8})
# Some packets may be damaged or come from somebody else without anything being wrong with the stream.
FAILURES_EACH: Final = 8
ROLLOVERS_MAX: Final = 4
# SSRCs that are looked after at a time; whoever invents more gets nothing for it.
SSRCS_MAX: Final = 16
# A wrapped stream is still in the lower half of its numbers; the upper one fits a count one lower.
_LOWER_HALF = 0x7FFF


class Rollovers:
    """What failed of which SSRC, and which count was tried for it. One for each association."""

    __slots__ = ("_failures", "_keys")

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        # Failures by SSRC, the newest SSRC last.
        self._failures: dict[bytes, int] = {}

    def failed(self, rx: CData, header: bytes) -> bool:
        """Note a failure of a stream nothing has come in of yet; True when the last count has been tried.

        `header` are the first twelve bytes of the packet.
        """
        ssrc = header[8:12]
        failures = self._failures.get(ssrc, 0) + 1
        if failures == 1 and len(self._failures) >= SSRCS_MAX:
            self._forget(rx, next(iter(self._failures)))
        self._failures[ssrc] = failures
        tried, odd = divmod(failures, FAILURES_EACH)
        if odd or tried > ROLLOVERS_MAX + 1:
            return False
        if tried == ROLLOVERS_MAX + 1:
            # As if nothing had been tried; what RTCP knows of the SSRC begins anew as well.
            remove_stream(rx, int.from_bytes(ssrc, "big"))
            return True
        if int.from_bytes(header[2:4], "big") < _LOWER_HALF:
            self._advance(rx, ssrc, tried)
        return False

    def succeeded(self, ssrc: bytes) -> int:
        """Return which count fitted a stream that has come in now; 0 when none had to be tried."""
        failures = self._failures.pop(ssrc, 0)
        return min(ROLLOVERS_MAX, failures // FAILURES_EACH)

    def _forget(self, rx: CData, ssrc: bytes) -> None:
        del self._failures[ssrc]
        remove_stream(rx, int.from_bytes(ssrc, "big"))

    def _advance(self, rx: CData, ssrc: bytes, count: int) -> None:
        """Take the stream to the last number before it wraps for the `count`-th time.

        Those of earlier tries are replays now, and refused.
        """
        twin = self._keys.twin()
        # In steps of less than half a cycle: libsrtp takes the nearest number.
        for number in [0xFFFF, *[0x5555, 0xAAAA, 0xFFFF] * (count - 1)]:
            packet = twin.protect(struct.pack("!BBHI4s", 0x80, 0, number, 0, ssrc))
            take_in(rx, packet)
