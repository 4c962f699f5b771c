"""POST /whip (RFC 9725): an encoder, an endoscope tower or an OBS publishes into a room."""

from bridge.api.accounts import Accounts
from bridge.api.admission import Admission
from bridge.api.devices.endpoint import DeviceEndpoint
from bridge.api.relays import Relays
from bridge.rooms import Rooms
from bridge.tokens import TokenKind, Tokens


def whip_endpoint(
    rooms: Rooms,
    tokens: Tokens,
    relays: Relays,
    admission: Admission,
    accounts: Accounts,
) -> DeviceEndpoint:
    """Return the endpoint for devices that publish."""
    return DeviceEndpoint(
        "/whip",
        TokenKind.PUBLISH,
        rooms=rooms,
        tokens=tokens,
        relays=relays,
        admission=admission,
        accounts=accounts,
    )
