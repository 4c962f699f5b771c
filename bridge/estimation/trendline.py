"""Whether the queue on the path grows: the slope of delay over time, against a threshold that adapts.

The filter is the trendline that replaced the draft's Kalman filter in browsers; the threshold is
that of Carlucci et al. 2016: it follows the slope, slowly up and fast down, so that neither a
competing TCP starves this flow nor a calm path is taken for a full one. The draft calls the slope m(i), 5.4
and 5.5.
"""

from collections import deque
from enum import Enum, auto

# Number of groups in the line, and how much of the smoothed delay each keeps: browsers' values.
WINDOW_GROUPS = 20
SMOOTHING = 0.9
# The slope of a line through few groups says little: it counts with their number, and no more than this.
GROUPS_COUNTED_MAX = 60
GAIN = 4.0

# Draft-ietf-rmcat-gcc-02, 5.4 and table 1: del_var_th(0), its limits, overuse_time_th. In milliseconds. The
# gains K_u and K_d are those of browsers: the draft's belong to another filter.
THRESHOLD_START_MS = 12.5
THRESHOLD_MIN_MS = 6.0
THRESHOLD_MAX_MS = 600.0
GAIN_UP = 0.0087
GAIN_DOWN = 0.039
OVERUSE_TIME_MS = 10.0
# Outliers beyond the threshold by more than this do not move it (5.4), nor does a pause count for longer.
OUTLIER_MS = 15.0
ADAPT_STEP_MAX_MS = 100.0


class Usage(Enum):
    """What the path does with what is sent (draft-ietf-rmcat-gcc-02, 5.4)."""

    NORMAL = auto()
    OVERUSE = auto()
    UNDERUSE = auto()


class Trendline:
    """Slope of the queueing delay of one path, and what it means."""

    __slots__ = (
        "_accumulated_ms",
        "_adapted_ms",
        "_count",
        "_first_ms",
        "_former_trend",
        "_overusing_count",
        "_overusing_ms",
        "_points",
        "_smoothed_ms",
        "_threshold_ms",
        "usage",
    )

    def __init__(self) -> None:
        self.usage = Usage.NORMAL
        self._threshold_ms = THRESHOLD_START_MS
        self._adapted_ms: float | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the line, not the threshold: the path is another one, or was silent."""
        self.usage = Usage.NORMAL
        self._points: deque[tuple[float, float]] = deque(maxlen=WINDOW_GROUPS)
        self._accumulated_ms = self._smoothed_ms = 0.0
        self._first_ms: float | None = None
        self._count = 0
        self._former_trend = 0.0
        self._overusing_ms: float | None = None
        self._overusing_count = 0

    def update(self, send_delta_s: float, arrival_delta_s: float, arrived_at: float) -> Usage:
        """Take the step between two groups; return what the path does now."""
        arrived_ms = arrived_at * 1000.0
        if self._first_ms is None:
            self._first_ms = arrived_ms
        self._count = min(self._count + 1, GROUPS_COUNTED_MAX)
        self._accumulated_ms += (arrival_delta_s - send_delta_s) * 1000.0
        self._smoothed_ms += (1.0 - SMOOTHING) * (self._accumulated_ms - self._smoothed_ms)
        self._points.append((arrived_ms - self._first_ms, self._smoothed_ms))
        trend = self._former_trend
        if len(self._points) == WINDOW_GROUPS:
            trend = _slope(self._points, trend)
        self._detect(trend, send_delta_s * 1000.0, arrived_ms)
        return self.usage

    def _detect(self, trend: float, send_delta_ms: float, arrived_ms: float) -> None:
        level_ms = self._count * trend * GAIN
        if level_ms > self._threshold_ms:
            # The time between the samples before the first one beyond the threshold is not known: half of it.
            step_ms = send_delta_ms if self._overusing_ms is not None else send_delta_ms / 2.0
            self._overusing_ms = (self._overusing_ms or 0.0) + step_ms
            self._overusing_count += 1
            is_long = self._overusing_ms > OVERUSE_TIME_MS and self._overusing_count > 1
            # A slope that falls again is a queue that has stopped growing.
            if is_long and trend >= self._former_trend:
                self._overusing_ms = 0.0
                self._overusing_count = 0
                self.usage = Usage.OVERUSE
        else:
            self._overusing_ms = None
            self._overusing_count = 0
            self.usage = Usage.UNDERUSE if level_ms < -self._threshold_ms else Usage.NORMAL
        self._former_trend = trend
        self._adapt(abs(level_ms), arrived_ms)

    def _adapt(self, level_ms: float, arrived_ms: float) -> None:
        since_ms = self._adapted_ms
        self._adapted_ms = arrived_ms
        if since_ms is None or level_ms > self._threshold_ms + OUTLIER_MS:
            return
        gain = GAIN_DOWN if level_ms < self._threshold_ms else GAIN_UP
        step_ms = min(max(arrived_ms - since_ms, 0.0), ADAPT_STEP_MAX_MS)
        threshold_ms = self._threshold_ms + gain * (level_ms - self._threshold_ms) * step_ms
        self._threshold_ms = min(max(threshold_ms, THRESHOLD_MIN_MS), THRESHOLD_MAX_MS)


def _slope(points: deque[tuple[float, float]], otherwise: float) -> float:
    """Return the slope of the line of least squares; `otherwise` where all points are of one time."""
    count = len(points)
    sum_x = sum_y = sum_xx = sum_xy = 0.0
    origin = points[0][0]
    for at, delay in points:
        x = at - origin
        sum_x += x
        sum_y += delay
        sum_xx += x * x
        sum_xy += x * delay
    spread = count * sum_xx - sum_x * sum_x
    return otherwise if spread <= 1e-9 else (count * sum_xy - sum_x * sum_y) / spread
