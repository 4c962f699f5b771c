"""A bad disk for processes that tests start: calls on some files fail or hang, as long as a test says so."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.c")


@dataclass(frozen=True, slots=True)
class Faults:
    """The environment of processes that meet the faults, and what these are now."""

    library: Path
    rules: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library), "FAULTS": str(self.rules)}

    def set(self, *rules: str) -> None:
        """Each is `call part-of-path errno`, or `hang` for the last; without any the disk is well again."""
        fresh = self.rules.with_suffix(".new")
        fresh.write_text("\n".join(rules))
        fresh.rename(self.rules)


def make_faults(folder: Path) -> Faults:
    library = folder / "faults.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    faults = Faults(library, folder / "faults")
    faults.set()
    return faults
