"""Whether the pictures after a lost packet can do without it, told by its neighbours."""

from bridge.media.cache import PacketCache
from bridge.media.packet import MediaPacket

# How far the neighbours are looked for.
NEAR_MAX = 32


def is_missed(cache: PacketCache[MediaPacket], number: int) -> bool:
    """Return whether a key frame must repair what was lost under that extended number.

    Not where only upper temporal layers can have been lost: they come right at the next picture that
    leans on the base layer alone.
    """
    before = next((one for one in map(cache.get, range(number - 1, number - NEAR_MAX, -1)) if one), None)
    after = next((one for one in map(cache.get, range(number + 1, number + NEAR_MAX)) if one), None)
    if before is None or after is None or min(before.tl0_picture_index, after.tl0_picture_index) < 0:
        return True
    is_same = before.picture_id == after.picture_id
    if (is_same or not before.marker) and before.temporal_id == 0:
        return True
    if not is_same and not after.starts_frame and after.temporal_id == 0:
        return True
    bases = (after.tl0_picture_index - before.tl0_picture_index) & 0xFF
    return bases != (not is_same and after.temporal_id == 0)
