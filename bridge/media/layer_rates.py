"""What a stream of temporal layers takes: in all, and how much of it each temporal limit gets."""

from collections.abc import Sequence

# Long enough for a key frame not to count for much.
MEASURED_S = 2.0
# Weight of the newest measure.
NEWEST_SHARE = 0.3


class LayerRates:
    """The rates of one stream, measured over seconds, and kept while it is switched off."""

    __slots__ = ("_measured_at", "_octets", "shares", "usual_bps")

    def __init__(self, limit_max: int) -> None:
        """`limit_max` is the temporal limit that gets all layers."""
        self.usual_bps = 0.0
        # Which part of its bytes each temporal limit gets; None before it was measured.
        self.shares: tuple[float, ...] | None = None
        self._measured_at = 0.0
        self._octets: Sequence[int] = [0] * (limit_max + 1)

    def measure(self, octets: Sequence[int], now: float) -> None:
        """Take in how many payload bytes each temporal limit has got so far."""
        elapsed_s = now - self._measured_at
        if elapsed_s < MEASURED_S:
            return
        before, self._octets, self._measured_at = self._octets, tuple(octets), now
        whole = octets[-1] - before[-1]
        if elapsed_s > 2 * MEASURED_S or not whole:
            # The first look, or one after a pause.
            return
        self.shares = tuple(
            (now_at - then_at) / whole for now_at, then_at in zip(octets, before, strict=True)
        )
        bps = 8 * whole / elapsed_s
        self.usual_bps = bps if not self.usual_bps else self.usual_bps + (bps - self.usual_bps) * NEWEST_SHARE
