"""The sound: limits without clipping, places between samples, runs without seams."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from compositions import level
from recordings import CO_TO, MUONG_NHE, START_MS, VIET_DUC, Recording, Site, tone

from bridge.archive.tracks.clocks import Placement
from bridge.archive.tracks.tracks import read_tracks
from bridge.archive.tracks.voices import BLOCK, CEILING, Limiter, Samples, Voice


def sine(hertz: float, amplitude: float, count: int) -> Samples:
    return (amplitude * np.sin(2 * np.pi * hertz * np.arange(count) / 48_000)).astype(np.float32)


def limited(mix: Samples, piece: int) -> Samples:
    limiter = Limiter()
    pieces = [limiter.process(mix[start : start + piece]) for start in range(0, len(mix), piece)]
    return np.concatenate(pieces)


def test_what_is_not_too_loud_passes_unchanged() -> None:
    mix = sine(440, 0.8, 48_000)
    assert np.allclose(limited(mix, 4800), mix[:-BLOCK], atol=1e-6)


def test_many_voices_at_once_are_lowered_and_not_cut_off() -> None:
    mix = sine(440, 0.1, 96_000)
    mix[48_000:] = sine(440, 2.5, 48_000)
    output = limited(mix, 4800)
    assert np.abs(output).max() <= CEILING + 0.01
    # A sine that is cut off has overtones.
    loud = output[60_000:90_000]
    assert level(loud, 440) > 0.8
    assert level(loud, 1320) < 0.01 * level(loud, 440)


def test_limiter_lets_go_afterwards_and_does_not_care_how_sound_comes() -> None:
    mix = np.concatenate([sine(440, 2.0, 24_000), sine(440, 0.3, 72_000)])
    output = limited(mix, 4800)
    assert level(output[72_000:90_000], 440) == pytest.approx(0.3, abs=0.01)
    assert np.allclose(output, limited(mix, 24_000), atol=1e-6)


def recorded(folder: Path, site: Site, **how: object) -> Voice:
    recording = Recording(folder)
    recording.join(0, site)
    recording.microphone(site, 0, 6, **how)  # type: ignore[arg-type]
    (track,) = read_tracks(recording.write())
    return Voice(track)


def heard(voice: Voice, seconds: float, window: int) -> Samples:
    pieces = []
    for start in range(0, round(seconds * 48_000), window):
        mix = np.zeros(window, np.float32)
        voice.add_to(mix, START_MS + start / 48)
        pieces.append(mix)
    return np.concatenate(pieces)


@pytest.mark.parametrize("site", [VIET_DUC, MUONG_NHE, CO_TO])
def test_voice_is_the_same_in_small_windows_and_in_large_ones(tmp_path: Path, site: Site) -> None:
    small = heard(recorded(tmp_path / "a", site), 5.5, 4_800)
    large = heard(recorded(tmp_path / "b", site), 5.5, 48_000)
    count = min(len(small), len(large))
    assert np.abs(small[:count] - large[:count]).max() < 1e-4


def test_drift_of_a_sender_is_taken_up(tmp_path: Path) -> None:
    """A device that is 1 % fast: played as it comes, the tone would be too high, and the last one late."""
    fast = Site(participant="p-9", name="x", colour=(0, 0, 0), tone_hz=1000, drift_ppm=10_000)
    track = recorded(tmp_path, fast, sound=tone(1000, [(0, 6)])).track
    pts_ms = np.array([0.0, 6060.0])
    voice = Voice(replace(track, placements={1: Placement(pts_ms, START_MS + pts_ms / 1.01)}))
    samples = heard(voice, 5.5, 48_000)[24_000:240_000]
    # The sine keeps its phase over the whole length: half a hertz off it would cancel itself.
    assert level(samples, 1000) > 0.28


def test_gap_in_the_packets_is_silent_and_does_not_click(tmp_path: Path) -> None:
    samples = heard(recorded(tmp_path, VIET_DUC, lost=[(2.02, 3)]), 5, 48_000)
    assert np.abs(samples[round(2.1 * 48_000) : round(2.9 * 48_000)]).max() < 1e-3
    assert level(samples[round(3.1 * 48_000) : round(4.9 * 48_000)], VIET_DUC.tone_hz) > 0.25
    # The tone itself rises by 0.017 from sample to sample.
    assert np.abs(np.diff(samples[24_000:])).max() < 0.03


def test_voice_that_is_asked_for_late_begins_there(tmp_path: Path) -> None:
    voice = recorded(tmp_path, VIET_DUC)
    mix = np.zeros(48_000, np.float32)
    voice.add_to(mix, START_MS + 3_000)
    assert level(mix, VIET_DUC.tone_hz) > 0.25
