"""How long does the library's list take with the packages of many years in the catalogue?

Asks the catalogue what pages ask it, and makes the answer as text: the newest, a late page, words without
their accents that are frequent, rare or not there, one room, one day, and what pages ask every two seconds.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import quantiles

from bridge.api.library.query import page_json
from bridge.base.words import ConferenceKind, PackageState
from bridge.store import rows
from bridge.store.catalogue import Catalogue
from bridge.store.entries import PackageEntry, Search
from bridge.store.tables import Database, packages

START_MS = 1_795_575_600_000
DAY_MS = 86_400_000
PER_DAY = 40
ROOMS = 25
SITES = (
    "Bệnh viện Bạch Mai",
    "Bệnh viện Đa khoa tỉnh Điện Biên",
    "Trạm Y tế đảo Cô Tô",
    "Trung tâm Y tế Mường Nhé",
)
TITLES = (
    "Hội chẩn tim mạch liên viện",
    "Hội chẩn chấn thương sọ não",
    "Giao ban sản khoa",
    "Hội chẩn ung bướu",
)


@dataclass(frozen=True, slots=True)
class Result:
    """One question; times are milliseconds."""

    question: str
    found: int
    p50_ms: float
    p95_ms: float
    # What it takes of one processor, for machines that are busy otherwise.
    cpu_p95_ms: float


def entry(number: int) -> PackageEntry:
    """Return one of the packages of many years."""
    day, at = divmod(number, PER_DAY)
    started_ms = START_MS + day * DAY_MS + at * 600_000
    return PackageEntry(
        id=f"HC-BV-ABCDEF-{20260000 + day}-{at + 1:02}-C01",
        session=f"HC-BV-ABCDEF-{20260000 + day}-{at + 1:02}",
        room=f"phong-{number % ROOMS}",
        title=TITLES[number % len(TITLES)],
        kind=ConferenceKind.CONSULTATION,
        case="C01",
        code=f"BN-{number:06}",
        sites=(*(SITES[(number + one) % len(SITES)] for one in range(3)), f"Trạm Y tế xã {number % 997}"),
        started_ms=started_ms,
        ended_ms=started_ms + 900_000,
        duration_ms=800_000,
        state=PackageState.SEALED,
        seal=f"{number:064x}",
        sealed_ms=started_ms + 1_800_000,
    )


def fill(folder: Path, count: int) -> None:
    """Make a catalogue of so many packages."""
    database = Database(Catalogue(folder).path)
    with database.writing() as connection:
        connection.execute(packages.insert(), [rows.columns(entry(number)) for number in range(count)])
    database.close()


def questions(count: int) -> dict[str, list[Search]]:
    """Return what is asked, by what it is."""
    moving = tuple(
        state for state in PackageState if state not in (PackageState.SEALED, PackageState.DELIVERED)
    )
    room = frozenset({"phong-7"})
    everywhere = frozenset(f"phong-{number}" for number in range(ROOMS))
    return {
        "newest": [Search()],
        "a late page": [Search(offset=count - 100)],
        "a frequent word": [Search(text="dien bien")],
        "a rare word": [Search(text=f"bn-{count // 3:06}")],
        "no such word": [Search(text="khong co gi nhu vay")],
        "two words": [Search(text="tim mach co to")],
        "a late page of a word": [Search(text="dien bien", offset=count // 2)],
        "ten words": [Search(text="hoi chan tim mach benh vien tinh co to c01")],
        "a rare word in a state": [Search(states=(PackageState.SEALED,), text="xa 500")],
        "a word in a state": [Search(states=(PackageState.SEALED,), text="dien bien")],
        "a word on late days": [Search(from_ms=START_MS + 400 * DAY_MS, text="dien bien")],
        "a site": [Search(site="xa 500")],
        "a frequent site": [Search(site="bach mai")],
        "a frequent code": [Search(code="bn-0")],
        "a code": [Search(code=f"{count // 2:06}")],
        "one room": [Search(rooms=room)],
        "a word in one room": [Search(rooms=room, text="giao ban")],
        "a word in all rooms": [Search(rooms=everywhere, text="giao ban")],
        "all rooms": [Search(rooms=everywhere)],
        "a late page of all rooms": [Search(rooms=everywhere, offset=count - 100)],
        "two states": [Search(states=(PackageState.SEALED, PackageState.DELIVERED))],
        "a late page of a state": [Search(states=(PackageState.SEALED,), offset=count - 100)],
        "one day": [Search(from_ms=START_MS + DAY_MS, until_ms=START_MS + 2 * DAY_MS)],
        "progress": [Search(states=moving, limit=20), Search(limit=0)],
        "progress of one room": [Search(states=moving, rooms=room, limit=20), Search(rooms=room, limit=0)],
    }


def measure(times: int, ask: Callable[[], int]) -> tuple[int, float, float, float]:
    """Return what was found, how long half and 95 of 100 times took at most, and these of the processor."""
    taken, worked = [], []
    found = 0
    for _ in range(times):
        began, began_work = time.perf_counter(), time.process_time()
        found = ask()
        worked.append((time.process_time() - began_work) * 1000)
        taken.append((time.perf_counter() - began) * 1000)
    shares = quantiles(taken, n=20)
    return found, round(shares[9], 2), round(shares[18], 2), round(quantiles(worked, n=20)[18], 2)


def run(folder: Path, count: int, times: int) -> list[Result]:
    """Ask everything so often."""
    fill(folder, count)
    catalogue = Catalogue(folder)
    found = []
    for question, searches in questions(count).items():

        def ask(searches: list[Search] = searches) -> int:
            pages = [(catalogue.search(search), search) for search in searches]
            for page, search in pages:
                json.dumps(page_json(page, search))
            return pages[-1][0].total

        found.append(Result(question, *measure(times, ask)))
    catalogue.close()
    return found


def main() -> None:
    """Run, and print a table or JSON lines."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", type=int, default=50_000)
    parser.add_argument("--times", type=int, default=40)
    parser.add_argument("--json", action="store_true", help="one JSON line each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hoichan-bench-") as folder:
        for result in run(Path(folder), options.packages, options.times):
            if options.json:
                print(json.dumps({"packages": options.packages, **asdict(result)}))
            else:
                times = f"{result.p50_ms:8} {result.p95_ms:8} {result.cpu_p95_ms:8}"
                print(f"{result.question:24} {result.found:7} {times}")


if __name__ == "__main__":
    main()
