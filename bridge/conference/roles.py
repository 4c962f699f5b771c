"""What each role may do: one table, asked by rooms, shown by the interface."""

from collections.abc import Mapping
from enum import Enum, auto

from bridge.base.words import Role


class Permission(Enum):
    """One thing that not everybody may do."""

    PUBLISH = auto()
    MODERATE = auto()


_PERMISSIONS: Mapping[Role, frozenset[Permission]] = {
    Role.CHAIR: frozenset({Permission.PUBLISH, Permission.MODERATE}),
    Role.SECRETARY: frozenset({Permission.PUBLISH, Permission.MODERATE}),
    Role.PRESENTER: frozenset({Permission.PUBLISH}),
    Role.EXPERT: frozenset({Permission.PUBLISH}),
    # An observer publishes only while a moderator has given it the floor.
    Role.OBSERVER: frozenset(),
}

# Who can be in a room.
ROOM_ROLES = tuple(_PERMISSIONS)
# Who may read, play and take recordings: those of its room, or all with the key of the archive.
ARCHIVE_ROLES = frozenset({Role.CHAIR, Role.SECRETARY, Role.ARCHIVIST})

# The order in which people look for each other: who leads first, who listens last.
_RANKS: Mapping[Role, int] = {role: rank for rank, role in enumerate(Role)}


def has(role: Role, permission: Permission) -> bool:
    """Whether the role itself, without the floor, brings the permission."""
    return permission in _PERMISSIONS[role]


def rank(role: Role) -> int:
    """The role's place in lists, 0 first."""
    return _RANKS[role]


def may_act_on(actor: Role, target: Role) -> bool:
    """Whether a moderator may remove the target: only a chair does so to a chair."""
    return has(actor, Permission.MODERATE) and (target is not Role.CHAIR or actor is Role.CHAIR)
