"""The encoders of the archive's video: H.264 High at level 4.1 and AAC-LC, as DICOM's MPEG-4 AVC asks for.

A key frame every two seconds and nowhere else, no reordering, so that a film can be encoded in slices, joined
without encoding again, and cut at any key frame; every setting is the same in all slices of a film.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from bridge.archive.plan.reel import AAC_SAMPLES, AUDIO_HZ, FRAME_RATE, GROUP_FRAMES

# PS3.5, 8.2.7: at most 8,192 macroblocks a picture (level 4.1).
MACROBLOCKS_MAX: Final = 8_192
SIDE_MIN_PX: Final = 64
AUDIO_BPS: Final = 128_000
# Pictures of 1280 x 720 and less, and larger ones.
SMALL_MAX_BPS: Final = 2_500_000
LARGE_MAX_BPS: Final = 5_000_000
SMALL_MACROBLOCKS: Final = 3_600

TIME_BASE: Final = Fraction(1, FRAME_RATE)
AUDIO_TIME_BASE: Final = Fraction(1, AUDIO_HZ)


def configure_video(encoder: Any, width_px: int, height_px: int, *, is_detail: bool) -> None:
    """Set up an H.264 encoder; with `is_detail` for images rather than for people."""
    max_bps = SMALL_MAX_BPS if _macroblocks(width_px, height_px) <= SMALL_MACROBLOCKS else LARGE_MAX_BPS
    encoder.width, encoder.height = width_px, height_px
    encoder.pix_fmt = "yuv420p"
    encoder.time_base = TIME_BASE
    encoder.framerate = Fraction(FRAME_RATE)
    encoder.sample_aspect_ratio = Fraction(1, 1)
    encoder.thread_count = 1
    encoder.flags |= av.codec.context.Flags.global_header | av.codec.context.Flags.closed_gop
    encoder.options = {
        "preset": "veryfast" if is_detail else "superfast",
        "profile": "high",
        "level": "4.1",
        "crf": "20" if is_detail else "22",
        "maxrate": str(max_bps),
        "bufsize": str(2 * max_bps),
        "x264-params": ":".join(
            (
                f"keyint={GROUP_FRAMES}",
                f"min-keyint={GROUP_FRAMES}",
                "scenecut=0",
                "open-gop=0",
                # A picture's time is its number, also for players that ignore edit lists.
                "bframes=0",
                "rc-lookahead=10",
                "force-cfr=1",
                "nal-hrd=none",
                # What browsers send, and what the words are set in: BT.601, video levels.
                "colorprim=smpte170m",
                "transfer=smpte170m",
                "colormatrix=smpte170m",
                "range=tv",
            )
        ),
    }


def configure_audio(encoder: Any) -> None:
    """Set up an AAC-LC encoder."""
    encoder.sample_rate = AUDIO_HZ
    encoder.layout = "stereo"
    encoder.format = "fltp"
    encoder.bit_rate = AUDIO_BPS
    encoder.time_base = AUDIO_TIME_BASE
    encoder.flags |= av.codec.context.Flags.global_header


def encoder_versions() -> str:
    """Return what tells encoders apart whose slices may not go into one film."""
    return f"{av.__version__} {av.library_versions}"


def encodable_size(width_px: int, height_px: int) -> tuple[int, int]:
    """Return the size at which a picture can be archived: its own, unless level 4.1 has no room for it."""
    width, height = max(width_px, SIDE_MIN_PX), max(height_px, SIDE_MIN_PX)
    scale = 1.0
    while _macroblocks(int(width * scale), int(height * scale)) > MACROBLOCKS_MAX:
        scale *= 0.99
    return int(width * scale) // 2 * 2, int(height * scale) // 2 * 2


class PictureEncoder:
    """Encodes one slice's pictures."""

    def __init__(self, width_px: int, height_px: int, *, is_detail: bool) -> None:
        self._encoder: Any = av.CodecContext.create("libx264", "w")
        configure_video(self._encoder, width_px, height_px, is_detail=is_detail)
        self._count = 0

    @property
    def setup(self) -> bytes:
        """What a decoder must be told first; known after the first picture."""
        return bytes(self._encoder.extradata or b"")

    def encode(self, frame: av.VideoFrame) -> Iterator[tuple[bytes, bool]]:
        """Yield finished pictures; the frame may be drawn on again afterwards."""
        frame.pts, frame.time_base = self._count, TIME_BASE
        self._count += 1
        yield from ((bytes(packet), packet.is_keyframe) for packet in self._encoder.encode(frame))

    def finish(self) -> Iterator[tuple[bytes, bool]]:
        """Yield the rest."""
        yield from ((bytes(packet), packet.is_keyframe) for packet in self._encoder.encode(None))


class SoundEncoder:
    """Encodes a film's sound from one AAC frame on, in the film's own grid of frames."""

    def __init__(self, first_sample: int) -> None:
        self._encoder: Any = av.CodecContext.create("aac", "w")
        configure_audio(self._encoder)
        self._next_sample = first_sample
        self._rest: NDArray[np.float32] = np.zeros(0, np.float32)

    @property
    def setup(self) -> bytes:
        """What a decoder must be told first; known after the first samples."""
        return bytes(self._encoder.extradata or b"")

    def encode(self, mono: NDArray[np.float32]) -> Iterator[tuple[int, bytes]]:
        """Yield frames of sound, each with the place of its first sample."""
        samples = np.concatenate([self._rest, mono])
        whole = len(samples) // AAC_SAMPLES * AAC_SAMPLES
        self._rest = samples[whole:]
        for block in samples[:whole].reshape(-1, AAC_SAMPLES):
            frame = av.AudioFrame.from_ndarray(np.stack([block, block]), "fltp", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = AUDIO_HZ, self._next_sample, AUDIO_TIME_BASE
            self._next_sample += AAC_SAMPLES
            yield from self._frames(self._encoder.encode(frame))

    @staticmethod
    def _frames(encoded: Any) -> Iterator[tuple[int, bytes]]:
        for packet in encoded:
            place = round(packet.pts * packet.time_base * AUDIO_HZ)
            yield place, bytes(packet)


def _macroblocks(width_px: int, height_px: int) -> int:
    return -(-width_px // 16) * -(-height_px // 16)
