"""Whose voices are heard: the open microphones of a room in an order that every leg can cut.

Levels come in as publishers write them into their packets (RFC 6464: 0 is the loudest, 127 is
silence, in -dBov), one per 20 ms. "Loudness" is 127 minus that level. What goes out is a ranking:
a leg with n voice slots is given its first n, its own left out; so one more is ranked than a leg
has slots, that a speaker hears as many others as a listener does.

The ranking is no sorted list, or places would change with each syllable. At each cut (below the first
place, the second, and so on) somebody comes up only

    from silence    into the place of a voice that has been silent for QUIET_S, at once,
    or by loudness  into the place of one that is MARGIN_DB quieter,

always into the place of the weakest above the cut, who takes the successor's. A source that tells no
levels (most encoders) may speak or send the silence of an empty room, nobody knows: it comes up into
places that nobody has used for LINGER_S, and gives way to every voice that is known to be heard.

Open microphones fill the places that nobody needs, silent as they are, so that no first syllable is cut
while there are places.
"""

from collections.abc import Hashable, Iterable
from enum import IntEnum
from itertools import islice
from typing import Generic, TypeVar

from bridge.media.speakers import FRAME_S, LEVEL_SILENCE, PAUSE_S, SPEAKERS_MAX

K = TypeVar("K", bound=Hashable)

# Quieter than -70 dBov is not worth a packet to everybody.
AUDIBLE_LOUDNESS = 57.0

# Scores rise by half the difference with each packet and start from just below audible, so
# that the first packet of a word already claims a place. They fall by 50 dB/s: gaps between
# syllables cost nothing, and a room whose background is heard keeps a place for half a second
# at most against somebody who speaks there 20 dB more softly.
SCORE_REST = 45.0
ATTACK = 0.5
DECAY_DB_PER_S = 50.0
DECAY_DB = DECAY_DB_PER_S * FRAME_S

# How much louder a voice must be than the weakest one above a cut, to come up.
MARGIN_DB = 6.0

# Longer than the gaps between words, and short enough that a voice which then begins is heard in full
# from its second syllable on, whatever the former one's loudness.
QUIET_S = 0.2

# How long somebody counts as heard after the last sound, and is safe from sources without levels.
LINGER_S = 2.0

NEVER = float("-inf")


class Hold(IntEnum):
    """How firmly a voice holds its place."""

    UNUSED = 0
    UNTOLD = 1
    QUIET = 2
    SOUNDING = 3


class _Voice:
    """One open microphone's smoothed loudness."""

    __slots__ = ("arrival", "audible", "is_told", "place", "score", "sound")

    def __init__(self, place: int) -> None:
        self.score = SCORE_REST
        # Whether its packets carry their levels.
        self.is_told = True
        # When the last packet came, the last one louder than silence, and when the score last was audible.
        self.arrival = NEVER
        self.sound = NEVER
        self.audible = NEVER
        # In the ranking; its length for those outside.
        self.place = place

    def is_sounding(self, now: float) -> bool:
        """Whether there is something to hear of it now, as far as is known."""
        return self.score >= AUDIBLE_LOUDNESS and now - self.sound < QUIET_S

    def firmness(self, now: float) -> tuple[Hold, float]:
        """How firmly it holds its place: those longest silent least, the loudest most."""
        silent_s = now - self.sound
        if silent_s >= (LINGER_S if self.is_told else QUIET_S):
            return Hold.UNUSED, self.sound
        if not self.is_told:
            return Hold.UNTOLD, 0.0
        return (Hold.QUIET, self.sound) if silent_s >= QUIET_S else (Hold.SOUNDING, self.score)

    def yields_to(self, other: "_Voice", now: float) -> bool:
        """Whether `other`, which is sounding, may have its place."""
        hold, _ = self.firmness(now)
        if not other.is_told:
            return hold is Hold.UNUSED
        return hold is not Hold.SOUNDING or other.score >= self.score + MARGIN_DB

    def fall_silent(self, now: float) -> None:
        """Let a voice without packets (muted, discontinuous transmission) lose its loudness, too."""
        pause_s = now - self.arrival
        if pause_s >= PAUSE_S and self.score > SCORE_REST:
            self.score = max(self.score - DECAY_DB_PER_S * pause_s, SCORE_REST)
            self.arrival = now
        if self.score >= AUDIBLE_LOUDNESS:
            self.audible = now


class VoiceRanking(Generic[K]):
    """The open microphones of a room, the first `places` of them in an order."""

    __slots__ = ("_claims", "_openings", "_places", "_voices", "heard", "ranking")

    def __init__(self, places: int) -> None:
        self._places = places
        self._voices: dict[K, _Voice] = {}
        # Whose voices are worth a place, most of all the first; another tuple when anything changed.
        self.ranking: tuple[K, ...] = ()
        # Who of them is heard or was just now, in the order in which they began.
        self.heard: tuple[K, ...] = ()
        # By place: the score from which on, and the time after which, whoever sits there may come up.
        self._claims = [AUDIBLE_LOUDNESS] * (places + 1)
        self._openings = [NEVER] * (places + 1)

    def __len__(self) -> int:
        return len(self._voices)

    def open(self, key: K) -> None:
        """A microphone is open: it may fill a place before it is heard."""
        if key not in self._voices:
            self._add(key)

    def close(self, key: K) -> None:
        """A microphone was muted, fell silent for good, or left."""
        if self._voices.pop(key, None) is None:
            return
        self.heard = tuple(other for other in self.heard if other != key)
        if key in self.ranking:
            self._rank([other for other in self.ranking if other != key])

    def level(self, key: K, level: int, now: float, *, is_told: bool = True) -> bool:
        """Note the level (0 loudest to 127) of one packet; True: the ranking may be another one now.

        Where it is not told, the level only says whether the packet may carry sound at all.
        """
        voice = self._voices.get(key)
        if voice is None:
            voice = self._add(key)
        voice.arrival = now
        voice.is_told = is_told
        score = voice.score
        loudness = LEVEL_SILENCE - level
        if loudness >= AUDIBLE_LOUDNESS:
            voice.sound = now
            if not is_told:
                voice.score = AUDIBLE_LOUDNESS
                return False
        if loudness > score:
            voice.score = score = score + (loudness - score) * ATTACK
        elif score > SCORE_REST:
            voice.score = score = score - DECAY_DB
        place = voice.place
        return score >= AUDIBLE_LOUDNESS and (score >= self._claims[place] or now >= self._openings[place])

    def rank(self, now: float) -> tuple[K, ...]:
        """Return the ranking as of now. Call every 100 ms or so, and when `level` says so.

        The same tuple object as before means that nothing has changed.
        """
        voices = self._voices
        for voice in voices.values():
            voice.fall_silent(now)
        ranking = list(self.ranking)
        outside = [key for key, voice in voices.items() if voice.place == self._places]
        if outside and len(ranking) < self._places:
            outside.sort(key=lambda key: voices[key].firmness(now), reverse=True)
            free = self._places - len(ranking)
            ranking += outside[:free]
            outside = outside[free:]
        outside = [key for key in outside if voices[key].is_sounding(now)]
        # From the lowest cut up: who comes from outside is then at hand for the next one.
        for cut in range(len(ranking), 0, -1):
            while self._come_up(ranking, outside, cut, now):
                pass
        self._rank(ranking)
        self._expect(now)
        self._note_heard(now)
        return self.ranking

    def first(self, count: int, without: K) -> tuple[K, ...]:
        """Return whom a leg with `count` voice slots hears: never its own voice."""
        return tuple(islice((key for key in self.ranking if key != without), count))

    def _add(self, key: K) -> _Voice:
        if len(self._voices) >= SPEAKERS_MAX:
            self.close(min(self._voices, key=lambda other: self._voices[other].score))
        voice = self._voices[key] = _Voice(self._places)
        return voice

    def _come_up(self, ranking: list[K], outside: list[K], cut: int, now: float) -> bool:
        """Let the loudest below the cut take the weakest one's place above it, if it may."""
        voices = self._voices
        below: Iterable[K] = (*ranking[cut:], *outside)
        sounding = [key for key in below if voices[key].is_sounding(now)]
        if not sounding:
            return False
        rising = max(sounding, key=lambda key: (voices[key].is_told, voices[key].score))
        place = min(range(cut), key=lambda at: voices[ranking[at]].firmness(now))
        falling = ranking[place]
        if not voices[falling].yields_to(voices[rising], now):
            return False
        if rising in outside:
            outside[outside.index(rising)] = falling
        else:
            ranking[ranking.index(rising)] = falling
        ranking[place] = rising
        return True

    def _rank(self, ranking: list[K]) -> None:
        if tuple(ranking) == self.ranking:
            return
        voices = self._voices
        for key in self.ranking:
            if key in voices:
                voices[key].place = self._places
        for place, key in enumerate(ranking):
            voices[key].place = place
        self.ranking = tuple(ranking)

    def _expect(self, now: float) -> None:
        """Work out when it is worth while to rank again, so that few packets ask for it."""
        is_full = len(self.ranking) == self._places
        claim, opening = float("inf"), float("inf")
        for place in range(self._places + 1):
            if place > 0 and place <= len(self.ranking):
                voice = self._voices[self.ranking[place - 1]]
                claim = min(claim, voice.score + MARGIN_DB if voice.is_told else AUDIBLE_LOUDNESS)
                opening = min(opening, voice.sound + QUIET_S)
            self._claims[place] = claim
            self._openings[place] = opening
        if not is_full:
            self._claims[self._places] = AUDIBLE_LOUDNESS

    def _note_heard(self, now: float) -> None:
        heard = [key for key in self.ranking if now - self._voices[key].audible < LINGER_S]
        if set(heard) != set(self.heard):
            staying = [key for key in self.heard if key in heard]
            self.heard = (*staying, *(key for key in heard if key not in staying))
