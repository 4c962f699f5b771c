"""What a sender has to send: an encoder that follows any rate, or a publisher's ladder of encodings."""

import random
from typing import Protocol

FRAMES_PER_S = 30.0
VOICE_BPS = 40_000.0


class Source(Protocol):
    """Pictures for a rate."""

    max_bps: float

    def frame_bytes(self, target_bps: float) -> int:
        """Return the size of the next picture."""


class Encoder:
    """Follows the target at once; sizes of pictures waver by a tenth."""

    def __init__(self, max_bps: float, seed: int = 1) -> None:
        self.max_bps = max_bps
        self._random = random.Random(seed)

    def frame_bytes(self, target_bps: float) -> int:
        rate_bps = min(max(target_bps - VOICE_BPS, 0.0), self.max_bps)
        return int(rate_bps / 8 / FRAMES_PER_S * self._random.uniform(0.9, 1.1))


class Ladder:
    """Encodings that are there or not, as a bridge has them; a step begins with a key frame."""

    # The sum for each step of what the web client publishes (150, 500 and 1,700 kbit/s).
    STEPS_BPS = (150_000.0, 500_000.0, 1_700_000.0)
    UP = 1.1
    KEYFRAME = 5.0

    def __init__(self) -> None:
        self.max_bps = self.STEPS_BPS[-1]
        self.step = -1
        # Times are counted in frames: how many ran at each step, and the first at the highest.
        self.frames = 0
        self.steps: list[int] = []

    def frame_bytes(self, target_bps: float) -> int:
        room_bps = target_bps - VOICE_BPS
        before = self.step
        while self.step >= 0 and room_bps < self.STEPS_BPS[self.step]:
            self.step -= 1
        while self.step + 1 < len(self.STEPS_BPS) and room_bps >= self.UP * self.STEPS_BPS[self.step + 1]:
            self.step += 1
        self.frames += 1
        self.steps.append(self.step)
        if self.step < 0:
            return 0
        size_bytes = self.STEPS_BPS[self.step] / 8 / FRAMES_PER_S
        return int(size_bytes * (self.KEYFRAME if self.step != before else 1.0))
