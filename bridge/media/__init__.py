"""The mechanisms of forwarding: pure, `now` (monotonic seconds) is an argument."""
