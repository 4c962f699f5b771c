"""The media half of a participant: its publications and slots, and its halves, uplink and downlink.

Leaves the mechanisms (loss, layers, speakers) to `bridge.media`, the wire to `bridge.transport`, and who is
on stage to the room. `bridge.sfu` wires it; recording and metrics may import `encoding` and `publication`.
"""
