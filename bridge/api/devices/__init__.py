"""The doors of devices: WHIP (RFC 9725) for encoders, WHEP for players, and their trickle ICE.

Leaves rights and rooms to `bridge.rooms`. The server mounts `whip` and `whep`; nobody else imports from here.
"""
