"""What happens to a sealed package through the years: its copies in stores, checks of its files, its
deletion.

Leaves when to `bridge.archive.work` and how long to `bridge.archive.retention`. The command line and
`bridge.archive.work` import from it.
"""
