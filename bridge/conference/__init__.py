"""One room: who is in, who may what, who sees whom, its cases and their consent, and what is told of it.

Leaves the set of open rooms to `bridge.rooms`, media to `bridge.sfu`, files to what implements `record`.
The doors (`bridge.api`) import `room`, `participants` and `requests`.
"""
