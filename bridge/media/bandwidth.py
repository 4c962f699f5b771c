"""How much may be sent to one receiver, judged by its REMB and its receiver reports.

Receivers that know abs-send-time but no transport-wide feedback run the delay-based estimator
themselves and send the result as REMB (draft-alvestrand-rmcat-remb). It reacts within a second
to a bottleneck, and when it falls it is taken at its word. But it never exceeds 1.5 times what
is sent, and a simulcast layer is three times the one below: who waits for REMB to announce room
for the next layer waits forever. So a REMB that does not fall is no limit. The estimate grows past
it, the next layer is tried, and when that was too much REMB falls, the layer is left at
once, and the next try waits twice as long.

Loss is a limit only where it shrinks when less is sent. A radio that loses one packet in ten loses it at
any rate: when the first cut has shown that, it is taken back, and what the path loses by nature counts no
more.

A receiver whose processor is busy (a browser that is just starting) reads late, takes that for
a bottleneck, and then announces a few kilobits for a minute. So a low REMB counts only when the
path itself shows it: packets are lost, or the round trip has grown.
"""

START_BPS = 2_500_000.0
FLOOR_BPS = 50_000.0
CEILING_BPS = 50_000_000.0

GROWTH_PER_S = 0.08
GROWTH_UNTRIED_PER_S = 0.5
# The estimate does not grow beyond what has been tried: half as much again as is sent, and room for the
# largest step that could be next.
GROWTH_BEYOND_SENT = 1.5
STEP_HEADROOM = 1.25

# Nobody asked for longer than this: the path may have become another one meanwhile.
GROWTH_MAX_S = 10.0

# Fraction of packets lost: below the first the estimate grows, above the second it is cut
# (the bounds of Google congestion control, draft-ietf-rmcat-gcc, 6).
LOSS_LOW = 0.02
LOSS_HIGH = 0.10
LOSS_CUT_MIN = 0.7

# After a cut so much less must be sent before its effect can be judged: what a full path drops then shrinks
# by all that is sent less, what a bad one loses stays as it is.
LESS_SENT = 0.85
INHERENT_LOSS_MAX = 0.3
# The first report after the fall tells of the moment before it, too.
REPORTS_JUDGED = 2
# How fast it is forgotten when less is lost.
INHERENT_STEP = 0.25

# Loss or REMB while less than this is sent (a few voices) says nothing about room for pictures.
SENT_MIN_BPS = 300_000.0

# Report blocks come for each stream, about one a second; all of one second tell of the same loss.
CUT_INTERVAL_S = 1.0

REMB_FRESH_S = 5.0

# REMB wavers; its detector cuts to 85 % of what arrives when it means it. What is sent is
# measured over other moments than what arrives, and wavers more.
REMB_FALL = 0.95
REMB_BELOW_SENT = 0.9

# After congestion the estimate does not grow for this long; twice as long after each next one.
HOLD_MIN_S = 2.0
# The last one was long ago when even the longest hold and the growth after it are over.
HOLD_MAX_S = 30.0
CALM_S = 120.0


class DownlinkEstimate:
    """The bitrate that one receiver's path carries, retransmissions included."""

    __slots__ = (
        "_bps",
        "_ceiling_bps",
        "_congested",
        "_cut",
        "_grown",
        "_hold_s",
        "_hold_until",
        "_inherent_loss",
        "_judged",
        "_loss",
        "_remb_at",
        "_remb_bps",
        "_start_bps",
        "_trial",
        "demand_bps",
        "sent_bps",
    )

    def __init__(self, *, start_bps: float = START_BPS, ceiling_bps: float = CEILING_BPS) -> None:
        self._bps = self._start_bps = start_bps
        # What is sent now, and the largest encoding that could be sent; None where nobody tells.
        self.sent_bps: float | None = None
        self.demand_bps = 0.0
        self._ceiling_bps = ceiling_bps
        self._loss = 0.0
        # What is lost at any rate; and of a cut that has yet to show its effect: the estimate, what was sent,
        # and what was lost before it; and how many reports have told of less being sent since.
        self._inherent_loss = 0.0
        self._trial: tuple[float, float, float] | None = None
        self._judged = 0
        self._remb_bps: float | None = None
        self._remb_at = 0.0
        # Times of the last growth, the last cut and the last congestion.
        self._grown: float | None = None
        self._cut: float | None = None
        self._congested: float | None = None
        self._hold_s = HOLD_MIN_S
        self._hold_until = 0.0

    def remb(
        self, bps: float, now: float, *, sent_bps: float | None = None, is_queueing: bool = True
    ) -> None:
        """Take over a REMB.

        `sent_bps` (what is sent now) tells apart a limit from an idle path, `is_queueing` (the round
        trip is longer than the path) a bottleneck from a busy receiver.
        """
        self._grow(now)
        before = self._remb_bps
        is_fresh = before is not None and now - self._remb_at < REMB_FRESH_S
        if sent_bps is not None:
            has_fallen = bps < REMB_BELOW_SENT * sent_bps and sent_bps >= SENT_MIN_BPS
        elif before is not None and is_fresh:
            has_fallen = bps < REMB_FALL * before
        else:
            has_fallen = True
        self._remb_bps, self._remb_at = bps, now
        if has_fallen and bps < self._bps:
            if is_queueing or self._is_lossy:
                # Down to one small picture; without any nothing comes that could lift a REMB again.
                self._bps = min(self._bps, max(bps, SENT_MIN_BPS))
                self._hold(now)
        elif bps > self._bps and now >= self._hold_until and not self._is_lossy:
            self._bps = min(bps, self._ceiling_bps)

    def report(
        self,
        fraction_lost: float,
        now: float,
        *,
        sent_bps: float | None = None,
        is_queueing: bool = True,
    ) -> None:
        """Take over the loss of a report block (0.0 to 1.0).

        `sent_bps` is what is sent now; `is_queueing` (the round trip is longer than the path) makes any loss
        one of too much.
        """
        self._grow(now)
        # Streams with few packets waver most: move halfway with each block, so that one bad block
        # of a thumbnail is not yet congestion.
        self._loss += (fraction_lost - self._loss) * 0.5
        if sent_bps is not None and not self._is_lossy and now >= self._hold_until:
            # What arrives is borne.
            self._bps = max(self._bps, min(sent_bps, self._ceiling_bps))
        if sent_bps is not None:
            self._judge(fraction_lost, sent_bps, is_queueing=is_queueing)
        if fraction_lost < self._inherent_loss:
            self._inherent_loss += INHERENT_STEP * (fraction_lost - self._inherent_loss)
        if min(fraction_lost, self._loss) - self._inherent_loss <= LOSS_HIGH:
            return
        if self._cut is not None and now - self._cut < CUT_INTERVAL_S:
            return
        self._cut = now
        if self._trial is None and sent_bps is not None and sent_bps >= SENT_MIN_BPS:
            self._trial = self._bps, sent_bps, self._loss
        base_bps = self._bps if sent_bps is None else min(self._bps, max(sent_bps, SENT_MIN_BPS))
        self._bps = max(base_bps * max(LOSS_CUT_MIN, 1.0 - 0.5 * self._loss), FLOOR_BPS)
        self._hold(now)

    def _judge(self, fraction_lost: float, sent_bps: float, *, is_queueing: bool) -> None:
        """See whether a cut has had the effect that it has on a full path."""
        if self._trial is None:
            return
        before_bps, sent_before_bps, loss_before = self._trial
        if is_queueing or fraction_lost <= LOSS_LOW or fraction_lost > INHERENT_LOSS_MAX:
            self._trial, self._judged = None, 0
            return
        if sent_bps > LESS_SENT * sent_before_bps:
            return
        self._judged += 1
        if self._judged < REPORTS_JUDGED:
            return
        self._trial, self._judged = None, 0
        expected = max(1.0 - sent_before_bps * (1.0 - loss_before) / max(sent_bps, 1.0), 0.0)
        if fraction_lost > (expected + loss_before) / 2.0:
            self._inherent_loss = min(max(fraction_lost, self._loss), INHERENT_LOSS_MAX)
            self._bps = max(self._bps, before_bps)
            self._congested, self._hold_until = None, 0.0

    @property
    def loss(self) -> float:
        """The smoothed fraction of packets lost on the way to this receiver, 0.0 to 1.0."""
        return self._loss

    @property
    def _is_lossy(self) -> bool:
        return self._loss - self._inherent_loss > LOSS_LOW

    def available_bps(self, now: float) -> float:
        """Return what may be sent now, in bits per second."""
        self._grow(now)
        return self._bps

    def _hold(self, now: float) -> None:
        """Stop growing for a while; congestion soon after growth doubles the while."""
        if self._congested is None or now - self._congested > CALM_S:
            self._hold_s = HOLD_MIN_S
        elif now >= self._hold_until:
            self._hold_s = min(self._hold_s * 2.0, HOLD_MAX_S)
        self._congested = now
        self._hold_until = now + self._hold_s

    def _grow(self, now: float) -> None:
        since = self._grown
        # Reports are stamped by the kernel: what calls next may be a little earlier.
        self._grown = now if since is None else max(since, now)
        if since is None or self._is_lossy:
            return
        elapsed_s = min(now - max(since, self._hold_until), GROWTH_MAX_S)
        limit_bps = self._ceiling_bps
        if self.sent_bps is not None:
            tried_bps = GROWTH_BEYOND_SENT * self.sent_bps + STEP_HEADROOM * self.demand_bps
            limit_bps = min(limit_bps, max(tried_bps, self._start_bps))
        if elapsed_s > 0.0 and self._bps < limit_bps:
            # A path that has never been too narrow is tried faster: an encoder of one quality waits for it.
            growth_per_s = GROWTH_UNTRIED_PER_S if self._congested is None else GROWTH_PER_S
            self._bps = min(self._bps * (1.0 + growth_per_s) ** elapsed_s, limit_bps)
