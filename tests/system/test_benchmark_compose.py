"""The composition bench makes what it says, and counts it."""

from pathlib import Path

from benchmarks.compose import conference, long_conference, measure
from bridge.archive.film.compose import ComposeSettings


def test_both_conferences_are_composed_whole_and_kept_for_the_next_run(tmp_path: Path) -> None:
    settings = ComposeSettings(slice_s=8, workers=1)
    for make in (conference, long_conference):
        session = make(tmp_path, 2, 3.0)
        result = measure(session, 2, settings)
        assert (result.frames, result.video_s) == (75, 3.0)
        assert result.content_frames == (25 if make is conference else 0)
        assert result.realtime_factor > 0
        assert 50 < result.peak_memory_mb < 3000
        assert make(tmp_path, 2, 3.0).events == session.events
