"""The parameter sets (SPS, PPS) of an H.264 stream, remembered for those who come later.

Hardware encoders send them with the first picture only, or only in the SDP (sprop-parameter-sets,
RFC 6184, 8.1). Whoever begins with a later key frame cannot decode it without them.
"""

from collections.abc import Iterable

from bridge.rtp.h264 import FU_A, PPS, SPS, nal_units, parameter_set_id

# They must fit one packet. Encoders have one of each, of some ten to a hundred bytes.
AGGREGATE_BYTES_MAX = 1000
UNITS_MAX = 16


class ParameterSets:
    """The newest parameter sets of one stream, one for each id."""

    __slots__ = ("_following", "_fragments", "_newest", "_units", "aggregate")

    def __init__(self, units: Iterable[bytes] = ()) -> None:
        """Begin with those that were agreed outside the stream."""
        self._units: dict[tuple[int, int], bytes] = {}
        # All of them in one payload (STAP-A, RFC 6184, 5.7.1); empty without at least one of each kind.
        self.aggregate = b""
        # The number of the packet that brought the newest ones.
        self._newest = -1
        # A set that comes in fragments, and the number of the packet that goes on with it.
        self._fragments: list[bytes] = []
        self._following = -1
        for unit in units:
            self._keep(unit)
        self._aggregate()

    def take(self, number: int, payload: bytes) -> bool:
        """Take in the packet with that extended number; tell whether it ended a parameter set."""
        payloads = self._fragments_of(number, payload) if payload[0] & 0x1F == FU_A else [payload]
        units = [unit for unit in nal_units(payloads) if unit[0] & 0x1F in (SPS, PPS)]
        if not units or number < self._newest:
            return False
        self._newest = number
        changes = [self._keep(unit) for unit in units]
        if any(changes):
            self._aggregate()
        return True

    def newest(self, kind: int) -> bytes | None:
        """Return the last set of that kind, SPS or PPS."""
        return next((unit for (of, _), unit in reversed(self._units.items()) if of == kind), None)

    def _fragments_of(self, number: int, payload: bytes) -> list[bytes]:
        """Return all fragments of a parameter set when `payload` is the last of them."""
        if len(payload) < 3 or payload[1] & 0x1F not in (SPS, PPS):
            return []
        if payload[1] & 0x80:
            self._fragments = []
        elif number != self._following or not self._fragments:
            return []
        self._fragments.append(payload)
        self._following = number + 1
        if len(self._fragments) > UNITS_MAX:
            self._fragments = []
        if not payload[1] & 0x40:
            return []
        fragments, self._fragments = self._fragments, []
        return fragments

    def _keep(self, unit: bytes) -> bool:
        """Keep one set as the newest of its kind; tell whether it is another than before."""
        kind, number = unit[0] & 0x1F, parameter_set_id(unit)
        if number is None or len(unit) > AGGREGATE_BYTES_MAX:
            return False
        former = self._units.pop((kind, number), None)
        self._units[kind, number] = unit
        return former != unit

    def _aggregate(self) -> None:
        units = self._units
        while len(units) > UNITS_MAX or sum(len(unit) + 2 for unit in units.values()) > AGGREGATE_BYTES_MAX:
            del units[next(iter(units))]
        # A PPS is read by what its SPS says.
        ordered = sorted(units.items(), key=lambda one: one[0][0])
        if {kind for kind, _ in units} != {SPS, PPS}:
            self.aggregate = b""
            return
        indication = max(unit[0] & 0x60 for unit in units.values()) | 24
        parts = [part for _, unit in ordered for part in (len(unit).to_bytes(2, "big"), unit)]
        self.aggregate = b"".join((bytes((indication,)), *parts))


def holds_both(payload: bytes) -> bool:
    """Whether one packet has an SPS and a PPS."""
    return {SPS, PPS} <= {unit[0] & 0x1F for unit in nal_units([payload])}
