"""The columns of both tables: what a figure is called, and how it is written."""

from collections.abc import Callable

from benchmarks.networks.score import Score

NEVER = float("inf")


def percent(value: float) -> str:
    """Write a part of 1."""
    return f"{100 * value:.0f}"


def fine_percent(value: float) -> str:
    """Write a part of 1 that is small."""
    return f"{100 * value:.1f}"


def milliseconds(value: float) -> str:
    """Write a time in seconds as milliseconds."""
    return f"{1000 * value:.0f}"


def seconds(value: float) -> str:
    """Write a time in seconds."""
    return "never" if value == NEVER else f"{value:.1f}"


def _if_asked(value: float | None, write: Callable[[float], str]) -> str:
    return "" if value is None else write(value)


VIRTUAL: tuple[tuple[str, Callable[[Score], str]], ...] = (
    ("used %", lambda s: percent(s.utilisation)),
    ("p95 wait ms", lambda s: milliseconds(s.p95_wait_s)),
    ("queue loss %", lambda s: fine_percent(s.queue_loss)),
    ("line loss %", lambda s: fine_percent(s.line_loss)),
    ("rise 90 % s", lambda s: _if_asked(s.rise_s, seconds)),
    ("fall 110 % s", lambda s: _if_asked(s.fall_s, seconds)),
    ("queue < 200 ms s", lambda s: _if_asked(s.queue_back_s, seconds)),
    ("Jain", lambda s: _if_asked(s.jain, "{:.2f}".format)),
    ("beside TCP %", lambda s: _if_asked(s.media_share, percent)),
)

# By the names of `benchmarks.networks.floors.measures`.
LIVE: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("used %", "utilisation", percent),
    ("p95 wait ms", "p95_wait_s", milliseconds),
    ("queue loss %", "queue_loss", fine_percent),
    ("rise 90 % s", "rise_s", seconds),
    ("fall 110 % s", "fall_s", seconds),
    ("queue < 200 ms s", "queue_back_s", seconds),
    ("Jain", "jain", "{:.2f}".format),
    ("beside TCP %", "media_share", percent),
    ("voice made up %", "concealed", fine_percent),
    ("after a fall %", "fall_concealed", fine_percent),
    ("stills s", "stills_s", seconds),
    ("longest s", "longest_still_s", seconds),
    ("> 1 s a minute", "freezes_per_minute", seconds),
    ("unsaid s", "unsaid_still_s", seconds),
    ("whole picture %", "whole_picture", percent),
    ("lines at the end", "height_px", "{:.0f}".format),
    ("whole again s", "full_picture_s", seconds),
    ("estimate Mbit/s", "estimate_bps", lambda value: f"{value / 1e6:.2f}"),
    ("control: voice %", "control_concealed", fine_percent),
    ("control: stills s", "control_stills_s", seconds),
    ("control: whole %", "control_whole_picture", percent),
    ("late ms", "late_s", milliseconds),
    ("load", "load", "{:.0f}".format),
)
