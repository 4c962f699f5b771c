"""Whether a line is dead: nothing comes of a leg that ought to send. Pure; time is an argument.

A microphone that sends nothing in silence, or is muted, and a screen that does not change are no dead line.
How long nothing may come, and of what, depends on what the leg has to send:

    a camera and a microphone   neither brings anything, whatever else arrives
    a camera                    nothing arrives at all, reports and checks included
    the microphone of a page    the same, for a little longer: browsers send some packets in silence, too
    anything else               nothing for longer than browsers wait between two checks of a path (RFC 7675)
"""

from collections.abc import Iterable

from bridge.base.words import Source
from bridge.leg.publication import RESTING_SOURCES, Publication

# Others are to be told within two seconds; a gap of the radio, as at a handover of a satellite, is shorter.
CAMERA_SILENT_S = 1.0
# In discontinuous transmission a browser sends a packet each 0.4 s.
VOICE_SILENT_S = 1.5
# Firefox checks its path every five seconds.
CHECKS_SILENT_S = 7.0


class Signal:
    """Whether anything comes of one leg."""

    __slots__ = ("_cut_at", "_expected", "_expected_since", "_is_device", "is_cut")

    def __init__(self, *, is_device: bool) -> None:
        self._is_device = is_device
        self._cut_at = 0.0
        # What was to come when it was last judged, and since when all of that was.
        self._expected: frozenset[Source] = frozenset()
        self._expected_since = 0.0
        self.is_cut = False

    def poll(self, publications: Iterable[Publication], received_at: float, now: float) -> bool:
        """Judge anew; tell of a change. `received_at` is when anything at all last came."""
        # What has ended is no longer expected; what is muted, or watched by nobody, need not come.
        expected = [one for one in publications if one.is_live and not one.is_muted]
        cameras = [
            one for one in expected if one.is_video and one.is_watched and one.source not in RESTING_SOURCES
        ]
        voices = [one for one in expected if one.source is Source.MICROPHONE]
        sources = frozenset(one.source for one in (*cameras, *voices))
        if not sources <= self._expected:
            # Unmuted, or asked for, only just now.
            self._expected_since = now
        self._expected = sources
        heard_at, limit_s = received_at, CHECKS_SILENT_S
        if cameras and voices:
            heard_at, limit_s = max(map(_last_arrival, (*cameras, *voices))), CAMERA_SILENT_S
        elif cameras:
            limit_s = CAMERA_SILENT_S
        elif voices and not self._is_device:
            limit_s = VOICE_SILENT_S
        if self.is_cut:
            # Whatever has ended meanwhile, it stays dead until something comes.
            is_cut = heard_at <= self._cut_at
        else:
            # A slow camera has its own measure of what a pause is.
            is_slow = any(camera.is_arriving for camera in cameras)
            silent_s = now - max(heard_at, self._expected_since)
            is_cut = bool(expected) and not is_slow and silent_s > limit_s
        if is_cut is self.is_cut:
            return False
        self.is_cut, self._cut_at = is_cut, now
        return True


def _last_arrival(publication: Publication) -> float:
    return max((one.last_arrival or 0.0 for one in publication.encodings.values()), default=0.0)
