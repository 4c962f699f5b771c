"""The library of recordings over HTTP: sessions, search, packages, ranges and downloads.

Leaves what a package is to `bridge.archive` and its catalogue to
`bridge.store`. The server mounts `endpoint`.
"""
