"""The media half of a participant: its publications and slots, and its halves, uplink and downlink.

Leaves the mechanisms (loss, layers, speakers) to `bridge.media`, the wire to `bridge.transport`, and who is
on stage to the room. `bridge.sfu` wires legs to each other; conference, recording and metrics may import
`leg`, `encoding` and `publication`.
"""
