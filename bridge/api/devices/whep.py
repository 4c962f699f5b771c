"""POST /whep (draft-ietf-wish-whep): a player, a wall screen or a recorder elsewhere watches a room."""

from bridge.api.accounts import Accounts
from bridge.api.admission import Admission
from bridge.api.devices.endpoint import DeviceEndpoint
from bridge.api.relays import Relays
from bridge.rooms import Rooms
from bridge.tokens import TokenKind, Tokens


def whep_endpoint(
    rooms: Rooms,
    tokens: Tokens,
    relays: Relays,
    admission: Admission,
    accounts: Accounts,
) -> DeviceEndpoint:
    """Return the endpoint for devices that watch."""
    return DeviceEndpoint(
        "/whep",
        TokenKind.WATCH,
        rooms=rooms,
        tokens=tokens,
        relays=relays,
        admission=admission,
        accounts=accounts,
    )
