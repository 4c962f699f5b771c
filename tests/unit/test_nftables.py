"""The sample of firewall rules: for our port, and rules that nftables takes."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.config import Config

CONFIGS = Path(__file__).parents[2] / "configs"
SAMPLE = CONFIGS / "nftables" / "hoichan.nft"


def test_the_rules_are_for_the_media_port() -> None:
    assert re.findall(r"th dport != (\d+)", SAMPLE.read_text()) == [str(Config().media.port)]


def test_the_samples_reckon_with_a_whole_room_behind_one_address() -> None:
    sites = Config().rooms.participants_max
    for sample in (SAMPLE, CONFIGS / "nginx" / "hoichan.conf"):
        assert re.findall(r"(\d+) sites behind one address", sample.read_text()) == [str(sites)]
    rates = re.findall(r"@senders. .* over (\d+)/second", SAMPLE.read_text())
    assert rates == [str(150 * sites)] * 2


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("nft"), reason="needs root and nftables")
def test_nftables_takes_the_rules_twice() -> None:
    # In a network namespace of its own: nothing of this machine is touched.
    load = f"nft -f {SAMPLE} && nft -f {SAMPLE} && nft list chain inet hoichan media"
    shown = subprocess.run(["unshare", "-n", "sh", "-c", load], check=True, capture_output=True, text=True)
    assert shown.stdout.count("drop") == 5
