"""The process that carries out one order: `python -m bridge.archive.film.crew_process BOUNDS`.

It confines itself before it reads the order, and before anything is imported that could read media.
"""

import json
import os
import pickle
import sys
import threading
from typing import Any, Final

from bridge.base.errors import ArchiveFailed
from bridge.confinement.processes import enter, go_on

READ_BYTES: Final = 4096
STDIN: Final = 0


def main() -> int:
    """Carry out one order; the exit status is 0 when its end was told."""
    bounds = enter(sys.argv[1])
    order = pickle.load(sys.stdin.buffer)
    threading.Thread(target=_end_with_input, daemon=True).start()

    from bridge.archive.film.orders import Watch

    def count(frames: int) -> None:
        go_on(bounds.cpu_s)
        _say({"frames": frames})

    try:
        _say({"result": order.carry_out(Watch(count, go_on))})
    except ArchiveFailed as error:
        failed = {"code": error.code, "sentence": error.sentence, "is_lasting": error.is_lasting}
        _say({"failed": failed})
    except OSError as error:
        _say({"errno": error.errno or 0})
    return 0


def _say(value: dict[str, Any]) -> None:
    print(json.dumps(value), flush=True)


def _end_with_input() -> None:
    # Not through `sys.stdin`, whose lock would be held at the end.
    while os.read(STDIN, READ_BYTES):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
