"""Pictures and sound of a plan as MP4 parts, made in slices by several processes, and what is shown beside
them.

Leaves to `bridge.archive.screen` what is in a picture and to `bridge.archive.package` what becomes of the
parts. `bridge.archive.work` imports `compose`; `crew` runs as a process.
"""
