"""The doors of a node: pages, joining, signalling by WebSocket, devices, the library, health.

Leaves every decision to the room or the catalogue behind the door. The server mounts what is here.
"""
