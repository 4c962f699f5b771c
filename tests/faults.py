"""A bad disk for processes that tests start: calls on some files fail or hang, as long as a test says so."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.c")
RULES_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Faults:
    """The environment of processes that meet the faults, and what these are now."""

    library: Path
    rules: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self.library)}

    def set(self, *rules: str) -> None:
        """Each is `call part-of-path errno`, or `hang` for the last; without any the disk is well again."""
        # In place, because processes have it mapped.
        with self.rules.open("r+b" if self.rules.exists() else "w+b") as file:
            file.write("\n".join(rules).encode().ljust(RULES_BYTES, b"\0"))


def make_faults(folder: Path) -> Faults:
    library = folder / "faults.so"
    rules = folder.resolve() / "faults"
    command = ["cc", "-shared", "-fPIC", "-O1", f'-DRULES="{rules}"', "-o", library, SOURCE, "-ldl"]
    subprocess.run(command, check=True)
    faults = Faults(library, rules)
    faults.set()
    return faults
