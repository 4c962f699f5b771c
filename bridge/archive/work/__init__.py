"""The archive at work: sessions taken in, what is due handed to processes of their own, and tried again
when it fails.

Leaves the work itself to the rooms below. The server and the command line import `supervisor` and
`attempts`; `worker` runs as a process.
"""
