"""Who leads the conversation: the one speaker worth showing.

It lives on the audio levels that publishers write into their packets (RFC 6464: 0 is the
loudest, 127 is silence, in -dBov), one per 20 ms. "Loudness" is 127 minus that level.

`voices.py` decides within milliseconds who is heard, `DominantSpeaker` within a second who is
shown. That is the method of I. Volfin and I. Cohen, "Dominant speaker identification for
multipoint videoconferencing", Computer Speech and Language 27 (2013): speech activity is scored
over three intervals that end now, each counting the active parts of the one before,

    immediate   one frame (20 ms), N1 = 13 parts: here steps of loudness above the noise floor,
                where the paper counts sub-bands, which a bridge that does not decode cannot see
    medium      N2 = 5 frames (100 ms), those with more than 7 active parts
    long        N3 = 10 mediums (1 s), those with more than 4 active frames

The score of v active parts out of n is the logarithm of two likelihoods' ratio, speech (binomial,
p = 0.5) to noise (exponential, parameter lambda):

    log C(n, v) + v log p + (n - v) log(1 - p) - log lambda + lambda v

Somebody takes over from the dominant speaker when the logarithms of the ratios of their scores
exceed C1 = 3 (immediate), C2 = 2 (medium) and C3 = 0 (long). In words: the dominant speaker
is silent right now, the other one is not, and has spoken more during the last second. Loudness
alone never wins, nor does a cough, and a pause for breath loses nothing.

A source that tells no levels (most encoders) has no scores: whether it carries speech or the silence
of an empty room, nobody knows. It may have the word when nobody who tells levels has spoken for
UNTOLD_AFTER_S, and loses it to whoever speaks for three mediums of the last ten.
"""

from collections import deque
from collections.abc import Hashable
from math import comb, log
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

LEVEL_SILENCE = 127
FRAME_S = 0.020

# More speakers than a room has places that may publish; the quietest one makes room.
SPEAKERS_MAX = 1024

IMMEDIATE_PARTS = 13
MEDIUM_FRAMES = 5
LONG_MEDIUMS = 10
HISTORY_FRAMES = MEDIUM_FRAMES * LONG_MEDIUMS

FRAME_ACTIVE_PARTS = 7
MEDIUM_ACTIVE_FRAMES = 4

IMMEDIATE_LAMBDA = 0.78
MEDIUM_LAMBDA = 24.0
LONG_LAMBDA = 47.0

IMMEDIATE_RATIO_MIN = 3.0
MEDIUM_RATIO_MIN = 2.0
LONG_RATIO_MIN = 0.0

# Scores at or below zero say "noise"; their logarithm needs a positive number.
SCORE_MIN = 1e-10

DECISION_INTERVAL_S = 0.3

# One part of the immediate interval. A frame is active 20 dB above the noise and has all
# its parts 32.5 dB above it.
PART_DB = 2.5

# The noise floor follows the quietest frame of the last second: down at once, up slowly, so
# that a talker without pauses does not become noise. But a second that varies by less than
# STEADY_DB is no speech, and becomes the floor at once. The floor stays between digital silence
# with some dither (-70 dBov) and a ventilator beside the microphone (-45 dBov).
FLOOR_LOUDNESS_MIN = 57.0
FLOOR_LOUDNESS_MAX = 82.0
STEADY_DB = 8
FLOOR_RISE_DB_PER_S = 1.0

# Whoever speaks again within this time has only listened: an encoder must not come on in each pause.
UNTOLD_AFTER_S = 10.0
# Active mediums in the last second of whoever takes the word from a source without levels: no cough has them.
UNTOLD_MEDIUMS_MIN = 3

# Without packets for this long the publisher is muted or in discontinuous transmission.
PAUSE_S = 0.1


def _scores(count: int, rate: float) -> tuple[float, ...]:
    """Return the score for each possible number of active parts out of `count`."""
    return tuple(
        max(log(comb(count, active)) + count * log(0.5) - log(rate) + rate * active, SCORE_MIN)
        for active in range(count + 1)
    )


_IMMEDIATE_SCORES = _scores(IMMEDIATE_PARTS, IMMEDIATE_LAMBDA)
_MEDIUM_SCORES = _scores(MEDIUM_FRAMES, MEDIUM_LAMBDA)
_LONG_SCORES = _scores(LONG_MEDIUMS, LONG_LAMBDA)


class _Speaker:
    """One participant's last second, newest frame last, and its scores at the last decision."""

    __slots__ = ("floor", "heard", "immediate", "is_told", "levels", "long", "medium")

    def __init__(self) -> None:
        self.levels: deque[int] = deque((LEVEL_SILENCE,) * HISTORY_FRAMES, maxlen=HISTORY_FRAMES)
        self.heard = 0.0
        # Whether its packets carry their levels.
        self.is_told = True
        self.floor = FLOOR_LOUDNESS_MIN
        self.immediate = self.medium = self.long = SCORE_MIN

    def score(self, now: float, elapsed_s: float) -> None:
        pause_s = now - self.heard
        if pause_s >= PAUSE_S:
            self.levels.extend((LEVEL_SILENCE,) * min(int(pause_s / FRAME_S), HISTORY_FRAMES))
            self.heard = now
        self._follow_noise(elapsed_s)
        if not self.is_told or LEVEL_SILENCE - min(self.levels) < self.floor + PART_DB:
            self.immediate = self.medium = self.long = SCORE_MIN
            return
        loudness_min = self.floor + FRAME_ACTIVE_PARTS * PART_DB
        level_max = LEVEL_SILENCE - loudness_min
        active = [level < level_max for level in self.levels]
        mediums = [sum(active[at : at + MEDIUM_FRAMES]) for at in range(0, HISTORY_FRAMES, MEDIUM_FRAMES)]
        parts = int((LEVEL_SILENCE - self.levels[-1] - self.floor) / PART_DB)
        self.immediate = _IMMEDIATE_SCORES[min(max(parts, 0), IMMEDIATE_PARTS)]
        self.medium = _MEDIUM_SCORES[mediums[-1]]
        self.long = _LONG_SCORES[sum(frames > MEDIUM_ACTIVE_FRAMES for frames in mediums)]

    @property
    def is_sending(self) -> bool:
        """Whether most of the last second may have carried sound; all that is known without levels."""
        return sum(level < LEVEL_SILENCE for level in self.levels) > HISTORY_FRAMES // 2

    def _follow_noise(self, elapsed_s: float) -> None:
        quietest = max(self.levels)
        floor = float(LEVEL_SILENCE - quietest)
        if quietest - min(self.levels) >= STEADY_DB:
            floor = min(floor, self.floor + FLOOR_RISE_DB_PER_S * elapsed_s)
        self.floor = min(max(floor, FLOOR_LOUDNESS_MIN), FLOOR_LOUDNESS_MAX)


class DominantSpeaker(Generic[K]):
    """The one participant of a room who has the word, judged by speech activity."""

    __slots__ = ("_decided", "_speakers", "_spoken", "dominant")

    def __init__(self) -> None:
        self._speakers: dict[K, _Speaker] = {}
        self._decided: float | None = None
        # When somebody whose levels are told last spoke.
        self._spoken = float("-inf")
        # Stays when everybody is silent; None until somebody is heard or after `remove`.
        self.dominant: K | None = None

    def level(self, key: K, level: int, now: float, *, is_told: bool = True) -> None:
        """Note the audio level (0 loudest to 127) of one packet of a participant.

        Where it is not told, the level only says whether the packet may carry sound at all.
        """
        speaker = self._speakers.get(key)
        if speaker is None:
            speaker = self._add(key)
        speaker.is_told = is_told
        speaker.levels.append(level)
        speaker.heard = now

    def _add(self, key: K) -> _Speaker:
        if len(self._speakers) >= SPEAKERS_MAX:
            self.remove(min(self._speakers, key=lambda other: self._speakers[other].long))
        speaker = self._speakers[key] = _Speaker()
        return speaker

    def remove(self, key: K) -> None:
        """Forget a participant who left or was muted."""
        self._speakers.pop(key, None)
        if self.dominant == key:
            self.dominant = None

    def poll(self, now: float) -> K | None:
        """Decide, at most every 300 ms; return who is dominant now, None while nobody is."""
        elapsed_s = DECISION_INTERVAL_S if self._decided is None else now - self._decided
        if elapsed_s >= DECISION_INTERVAL_S:
            self._decided = now
            for speaker in self._speakers.values():
                speaker.score(now, elapsed_s)
                if speaker.long > SCORE_MIN:
                    self._spoken = now
            successor = self._first() if self.dominant is None else self._successor(self.dominant)
            if successor is None and now - self._spoken >= UNTOLD_AFTER_S:
                successor = self._untold()
            if successor is not None:
                self.dominant = successor
        return self.dominant

    def _untold(self) -> K | None:
        """While nobody is known to speak, a source without levels may have the word; another one keeps it."""
        holding = None if self.dominant is None else self._speakers.get(self.dominant)
        if holding is not None and not holding.is_told and holding.is_sending:
            return None
        sending = (key for key, one in self._speakers.items() if not one.is_told and one.is_sending)
        return next(sending, None)

    def _first(self) -> K | None:
        """While nobody is dominant, anybody who is heard is better than nobody."""
        best: tuple[float, float] = (SCORE_MIN, SCORE_MIN)
        first: K | None = None
        for key, speaker in self._speakers.items():
            if (speaker.long, speaker.medium) > best:
                best, first = (speaker.long, speaker.medium), key
        return first

    def _successor(self, dominant: K) -> K | None:
        """Return who exceeds the dominant speaker in all three intervals, most of all in the medium one."""
        held = self._speakers.get(dominant) or _Speaker()
        long_min = held.long if held.is_told else _LONG_SCORES[UNTOLD_MEDIUMS_MIN - 1]
        best_ratio = MEDIUM_RATIO_MIN
        successor: K | None = None
        for key, speaker in self._speakers.items():
            # Most are silent and end here, before the logarithms.
            if speaker.long <= long_min or key == dominant:
                continue
            medium_ratio = log(speaker.medium / held.medium)
            if (
                medium_ratio > best_ratio
                and log(speaker.immediate / held.immediate) > IMMEDIATE_RATIO_MIN
                and log(speaker.long / long_min) > LONG_RATIO_MIN
            ):
                best_ratio, successor = medium_ratio, key
        return successor
