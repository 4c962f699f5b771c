"""Whether a finished video plays: every picture and all sound of it, decoded once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import av

# How many packets are decoded between two words about it.
STEP_PACKETS: Final = 500


def why_unplayable(path: Path, frames: int, step: Callable[[], None]) -> str:
    """Return why a video does not play to its end with so many pictures; empty when it does.

    Calls `step` now and then, because it takes as long as the video is.
    """
    pictures = 0
    try:
        with av.open(str(path)) as container:
            for stream in container.streams:
                codec: Any = stream.codec_context
                codec.thread_count = 1
            for number, packet in enumerate(container.demux()):
                found = packet.decode()
                pictures += len(found) if packet.stream.type == "video" else 0
                if number % STEP_PACKETS == 0:
                    step()
    except (av.FFmpegError, OSError) as error:
        return str(error)
    return "" if pictures == frames else f"{pictures} of {frames} pictures can be decoded"
