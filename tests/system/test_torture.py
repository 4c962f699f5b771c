"""A recording server, killed and damaged at random: only what must be is missing, and nothing is mixed."""

from pathlib import Path

import pytest
from judged import STARTS_MS
from other_store import OtherStore
from torture import Ledger, torture

pytestmark = [pytest.mark.peer]

KILLS = 20
LIFE_S = 2.5
SEED = 20261128


@pytest.mark.timeout(600)
async def test_kills_and_damaged_bytes_take_nothing_else_and_mix_nothing(tmp_path: Path) -> None:
    """`make torture` does the same for an hour."""
    faults = await torture(tmp_path, kills=KILLS, seed=SEED, seats=2, abandons=False, life_s=LIFE_S)
    assert faults == [], [str(fault) for fault in faults]
    ledger = Ledger(tmp_path / "ledger.jsonl")
    assert len(ledger.of("kill")) == KILLS
    assert len(ledger.of("flip")) == KILLS // 5
    # There was something to be missed, and something to be held back.
    for source in ("camera", "content"):
        shown = [line for line in ledger.of("shown") if line["source"] == source]
        assert any(at >= line["from_ms"] + STARTS_MS for line in shown for at in line["taken"])
    assert len(ledger.of("withdrawn")) >= 2
    assert OtherStore(tmp_path).puts
