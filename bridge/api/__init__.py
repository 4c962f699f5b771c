"""The HTTP interface: joining from an invitation, and devices that speak WHIP or WHEP."""
