"""Lets the kernel drop what comes from some addresses, before it costs us, or others their buffer, anything.

By a socket filter: classic BPF, which needs no privilege.
"""

import logging
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bridge.transport.mmsg import set_filter

logger = logging.getLogger(__name__)

_LOAD_WORD, _LOAD_HALF, _LOAD_BYTE = 0x20, 0x28, 0x30
_LOADS: Final = {4: _LOAD_WORD, 2: _LOAD_HALF, 1: _LOAD_BYTE}
_AND, _JUMP_IF_EQUAL, _RETURN = 0x54, 0x15, 0x06
# Loads from here on are of the IP header, those from 0 of the UDP or TCP header; both begin with the port.
_IP_HEADER = 0xFFF00000
_WHOLE_PACKET = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something comes from: a packed IPv4 address, or an IPv6 address or its first bytes."""

    network: bytes
    # None for all of them.
    port: int | None = None


def shut_out(sock: socket.socket, origins: Sequence[Origin]) -> None:
    """Have the kernel drop what comes from these, and from nowhere else; from nobody when there are none.

    A listening socket drops the requests for connections. What it accepts meanwhile inherits the
    filter, which matches none of it.
    """
    try:
        set_filter(sock, filter_program(origins) if origins else None)
    except OSError as error:
        # Then it is dropped by who reads it, as before.
        logger.warning("the kernel takes no socket filter: %s", error)


def filter_program(origins: Iterable[Origin]) -> bytes:
    """Return a socket filter that drops what comes from these, and nothing else."""
    return b"".join(map(_dropping, origins)) + _instruction(_RETURN, _WHOLE_PACKET)


def _instruction(code: int, value: int, *, otherwise: int = 0) -> bytes:
    """Return one instruction; a comparison that fails leaves out `otherwise` instructions."""
    return struct.pack("=HBBI", code, 0, otherwise, value)


def _dropping(origin: Origin) -> bytes:
    """Return the instructions that drop what comes from there."""
    network = origin.network
    is_ipv4 = len(network) == 4
    version = _instruction(_LOAD_BYTE, _IP_HEADER) + _instruction(_AND, 0xF0)
    comparisons = [(version, 0x40 if is_ipv4 else 0x60)]
    if origin.port is not None:
        comparisons.insert(0, (_instruction(_LOAD_HALF, 0), origin.port))
    source, at = _IP_HEADER + (12 if is_ipv4 else 8), 0
    while at < len(network):
        size = next(size for size in _LOADS if size <= len(network) - at)
        value = int.from_bytes(network[at : at + size], "big")
        comparisons.append((_instruction(_LOADS[size], source + at), value))
        at += size
    body = _instruction(_RETURN, 0)
    for load, value in reversed(comparisons):
        body = load + _instruction(_JUMP_IF_EQUAL, value, otherwise=len(body) // 8) + body
    return body
