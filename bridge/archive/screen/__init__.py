"""One picture of a recording: where each participant stands in it, its letters, its planes.

Leaves which participants those are to `bridge.archive.plan` and what they look like to
`bridge.archive.tracks`. `bridge.archive.film` imports `screen` and `canvas`.
"""
