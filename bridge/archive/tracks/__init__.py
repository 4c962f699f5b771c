"""What was recorded, on the clock of the server: track logs, where each stream belongs, pictures and voices
decoded.

Leaves who is on show to `bridge.archive.plan` and how it is drawn to `bridge.archive.screen`. Whoever makes
the film imports `tracks`, the feeds and the voices; `clocks` and `stretches` are its own and pure.
"""
