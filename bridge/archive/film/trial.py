"""Whether the decoders of this installation work at all: something that we made ourselves is decoded."""

from fractions import Fraction
from typing import Any, Final

import av
import numpy as np

_CODECS: Final = (("libvpx", "vp8"), ("libx264", "h264"))
_SIDE_PX: Final = 64
_SOUND_HZ: Final = 48_000


def decode_our_own() -> None:
    """Decode a picture of each codec and a packet of sound; what goes wrong is the installation's fault."""
    for encoder_name, decoder_name in _CODECS:
        encoder: Any = av.CodecContext.create(encoder_name, "w")
        encoder.width, encoder.height, encoder.pix_fmt = _SIDE_PX, _SIDE_PX, "yuv420p"
        encoder.time_base = Fraction(1, 25)
        grey = np.full((_SIDE_PX * 3 // 2, _SIDE_PX), 128, np.uint8)
        _decode(decoder_name, _encoded(encoder, av.VideoFrame.from_ndarray(grey, "yuv420p")))
    encoder = av.CodecContext.create("libopus", "w")
    encoder.sample_rate, encoder.layout, encoder.format = _SOUND_HZ, "mono", "s16"
    encoder.time_base = Fraction(1, _SOUND_HZ)
    silence = av.AudioFrame.from_ndarray(np.zeros((1, _SOUND_HZ // 50), np.int16), "s16", "mono")
    silence.sample_rate = _SOUND_HZ
    _decode("opus", _encoded(encoder, silence))


def _encoded(encoder: Any, frame: Any) -> list[bytes]:
    frame.pts, frame.time_base = 0, encoder.time_base
    return [bytes(packet) for packet in (*encoder.encode(frame), *encoder.encode(None))]


def _decode(name: str, packets: list[bytes]) -> None:
    decoder: Any = av.CodecContext.create(name, "r")
    decoder.thread_count = 1
    found = [frame for packet in packets for frame in decoder.decode(av.Packet(packet))]
    if not [*found, *decoder.decode(None)]:
        raise ValueError(f"{name} decodes nothing")
