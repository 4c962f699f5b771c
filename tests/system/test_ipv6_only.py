"""A machine that has no IPv4: the whole server, joined and talked through by IPv6 alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from bridge_process import ROOT
from ipv6_only import ADDRESS

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a network of its own"),
]

# IPv4 has not even its loopback here.
WITHOUT_IPV4 = f"ip link set lo up; ip -4 address flush dev lo; ip address add {ADDRESS}/64 dev lo nodad"


def test_a_conference_needs_no_ipv4(tmp_path: Path) -> None:
    child = subprocess.run(
        [
            *("unshare", "--net", "sh", "-ec", f'{WITHOUT_IPV4}; exec "$@"', "sh"),
            *(sys.executable, "-m", "ipv6_only", str(tmp_path / "bridge")),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
        stdout=subprocess.PIPE,
        timeout=100,
    )
    assert child.returncode == 0
    candidates = json.loads(child.stdout.splitlines()[-1])
    # Loopback last, for a browser on the same machine.
    assert candidates == [["udp", ADDRESS], ["udp", "::1"], ["tcp", ADDRESS], ["tcp", "::1"]]
