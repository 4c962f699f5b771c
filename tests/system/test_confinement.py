"""What the kernel refuses to processes that read what strangers sent: real ones, as the product has them."""

import os
import platform
from pathlib import Path
from typing import Any

import pytest
from intruder import ALLOWED, REFUSED, Endless, Intrude

from bridge.archive.film.crew import ConfinedCrew
from bridge.base.errors import ArchiveFailed
from bridge.confinement import processes, seccomp
from bridge.confinement.processes import offered
from bridge.confinement.seccomp import filter_code

pytestmark = pytest.mark.skipif(
    bool(offered().missing), reason=f"this kernel has no {' and no '.join(offered().missing)}"
)

SECRET = b"token secret of the bridge"


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What an intruder found, in a process of the crew."""
    state, session, own = (tmp_path / name for name in ("state", "session", "own"))
    for folder in (state, session, own):
        folder.mkdir()
    (state / "token-secret").write_bytes(SECRET)
    (session / "journal.jsonl").write_bytes(b"{}\n")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("HOICHAN_TURN__SECRET", "x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "x")
    descriptor = os.open(state / "token-secret", os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    try:
        order = Intrude(state / "token-secret", session, own, descriptor)
        (found,) = ConfinedCrew().carry_out([order], lambda _: None)
    finally:
        os.close(descriptor)
    assert (state / "token-secret").read_bytes() == SECRET
    assert [path.name for path in state.iterdir()] == ["token-secret"]
    assert isinstance(found, dict)
    return found


def test_a_decoder_that_was_taken_over_reaches_nothing_but_its_work(told: dict[str, Any]) -> None:
    answers = told["answers"]
    own = ("read the session", "write its own folder", "signal itself", "start a thread")
    assert {name: answers.pop(name) for name in own} == dict.fromkeys(own, ALLOWED)
    assert answers.pop("use the bridge's descriptor") == "EBADF"
    # Linked files would have to be allowed at both ends.
    assert answers.pop("link in") in REFUSED | {"EXDEV"}
    assert answers.pop("move out") in REFUSED | {"EXDEV"}
    assert {name: answer for name, answer in answers.items() if answer not in REFUSED} == {}
    assert not {"HOICHAN_TURN__SECRET", "AWS_SECRET_ACCESS_KEY"} & told["environment"].keys()


def test_a_kernel_that_cannot_confine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.Offered(0, seccomp=False).missing == ["Landlock", "seccomp"]
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert offered().missing == ["seccomp"]
    assert not seccomp.is_available()


def _carry_out(what: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    # Seconds, because the first of them go into loading libraries.
    crew = ConfinedCrew(file_bytes=1 << 20, cpu_s=5)
    return crew.carry_out([Endless(what, folder)], lambda _: None)


def test_memory_processor_and_disk_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _carry_out("memory", tmp_path, monkeypatch) == ["refused"]
    with pytest.raises(OSError, match="File too large"):
        _carry_out("disk", tmp_path, monkeypatch)
    with pytest.raises(ArchiveFailed, match="killed by signal 24"):
        _carry_out("processor", tmp_path, monkeypatch)
    assert (tmp_path / "large").stat().st_size <= 1 << 20


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_a_call_for_another_machine_ends_the_process(machine: str) -> None:
    """The first thing that the filter looks at, on both kinds of machine."""
    known = seccomp._MACHINES[machine]
    code = filter_code(known, 1)
    assert len(code) % 8 == 0
    assert len(code) // 8 < 4096
    first = [code[place : place + 8] for place in range(0, 24, 8)]
    assert int.from_bytes(first[0][4:], "little") == 4
    assert int.from_bytes(first[1][4:], "little") == known.audit_arch
    assert int.from_bytes(first[2][4:], "little") == 0x8000_0000
