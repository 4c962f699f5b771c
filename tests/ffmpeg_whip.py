"""An encoder that is not ours: FFmpeg's WHIP muxer, by way of PyAV. Runs as a process, as it may block.

`python ffmpeg_whip.py URL TOKEN LUMA,U,V [NAME=VALUE...]`, with options of the muxer: publishes one colour
and a tone with H.264 and Opus, prints `live` when media flows, and ends when its standard input is closed.
"""

import sys
import threading
import time
from fractions import Fraction

import av
import numpy as np

WIDTH_PX, HEIGHT_PX, FRAMES_PER_S = 320, 180, 15
SAMPLE_RATE_HZ = 48000
SAMPLES_PER_FRAME = 960
TONE_HZ = 440


def main(url: str, token: str, colour: str, *options: str) -> None:
    over = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    luma, blue, red = (int(one) for one in colour.split(","))
    picture = np.vstack(
        [
            np.full((HEIGHT_PX, WIDTH_PX), luma),
            np.full((HEIGHT_PX // 4, WIDTH_PX), blue),
            np.full((HEIGHT_PX // 4, WIDTH_PX), red),
        ]
    ).astype(np.uint8)
    chosen = dict(option.split("=", 1) for option in options)
    with av.open(url, "w", format="whip", options={"authorization": token, **chosen}) as container:
        video = container.add_stream(
            "libx264",
            rate=FRAMES_PER_S,
            options={
                "profile": "baseline",
                "preset": "ultrafast",
                "tune": "zerolatency",
                "g": "15",
                "bf": "0",
            },
        )
        video.max_b_frames = 0
        video.width, video.height, video.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        audio = container.add_stream("libopus", rate=SAMPLE_RATE_HZ, layout="stereo")
        began = time.monotonic()
        pictures = samples = 0
        while not over.is_set():
            now = time.monotonic() - began
            while samples < now * SAMPLE_RATE_HZ:
                at = (np.arange(SAMPLES_PER_FRAME) + samples) / SAMPLE_RATE_HZ
                tone = (np.sin(2 * np.pi * TONE_HZ * at) * 8000).astype(np.int16)
                sound = av.AudioFrame.from_ndarray(np.repeat(tone, 2)[None, :], format="s16", layout="stereo")
                sound.sample_rate, sound.pts = SAMPLE_RATE_HZ, samples
                sound.time_base = Fraction(1, SAMPLE_RATE_HZ)
                samples += SAMPLES_PER_FRAME
                container.mux(audio.encode(sound))
            while pictures < now * FRAMES_PER_S:
                frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
                frame.pts, frame.time_base = pictures, Fraction(1, FRAMES_PER_S)
                pictures += 1
                container.mux(video.encode(frame))
                if pictures == 1:
                    print("live", flush=True)
            over.wait(0.01)


if __name__ == "__main__":
    main(*sys.argv[1:])
