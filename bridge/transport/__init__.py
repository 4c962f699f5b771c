"""The media port: UDP and TCP, ICE-lite, DTLS, SRTP and the fan-out to many receivers.

The only package that imports aiortc's transports, aioice, pylibsrtp and sockets.
"""

from bridge.transport.dtls import Certificate
from bridge.transport.fanout import ROWS_MAX, STRIDE_BYTES, Fanout, FanoutRows, Route
from bridge.transport.ice import Credentials
from bridge.transport.paths import SelectedPath
from bridge.transport.port import MediaPort
from bridge.transport.transport import (
    CloseReason,
    Transport,
    TransportObserver,
    TransportState,
)

__all__ = [
    "ROWS_MAX",
    "STRIDE_BYTES",
    "Certificate",
    "CloseReason",
    "Credentials",
    "Fanout",
    "FanoutRows",
    "MediaPort",
    "Route",
    "SelectedPath",
    "Transport",
    "TransportObserver",
    "TransportState",
]
