"""The columns in which the copies of one outgoing packet differ: one row per receiver."""

from collections.abc import Sequence
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

R = TypeVar("R")
P = TypeVar("P")


class Rows(Generic[R, P]):
    """What `fanout.send` needs to know of each copy of a packet, as columns of plain numbers.

    All columns have the same length. Sequence numbers are taken modulo 2^16 and timestamps
    modulo 2^32 when they are written, so that whoever fills them may count on. The fan-out's own are R,
    the way to the receivers, and P, what it has prepared of the columns that never change.
    """

    __slots__ = (
        "abs_send_time_id",
        "audio_level_id",
        "payload_type",
        "picture_id",
        "prepared",
        "route",
        "sequence_number",
        "ssrc",
        "timestamp",
        "tl0_picture_index",
        "transport_wide_id",
    )

    def __init__(
        self,
        *,
        route: R,
        ssrc: Sequence[int],
        payload_type: Sequence[int],
        abs_send_time_id: Sequence[int],
        audio_level_id: Sequence[int],
        transport_wide_id: Sequence[int] = (),
    ) -> None:
        count = len(ssrc)
        self.route = route
        # What the fan-out keeps with these rows; the columns up to the ids never change.
        self.prepared: P | None = None
        self.ssrc: NDArray[np.uint32] = np.array(ssrc, dtype=np.uint32)
        self.payload_type: NDArray[np.uint8] = np.array(payload_type, dtype=np.uint8)
        self.abs_send_time_id: NDArray[np.uint8] = np.array(abs_send_time_id, dtype=np.uint8)
        self.audio_level_id: NDArray[np.uint8] = np.array(audio_level_id, dtype=np.uint8)
        # Who has one is told a transport-wide number, and no abs-send-time.
        self.transport_wide_id: NDArray[np.uint8] = np.array(transport_wide_id or [0] * count, dtype=np.uint8)
        self.sequence_number: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.timestamp: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.picture_id: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
        self.tl0_picture_index: NDArray[np.int64] = np.zeros(count, dtype=np.int64)
