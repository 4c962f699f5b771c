"""The words of `hoichan archive`; what stands behind them is imported when it is asked for (`archive`)."""

import argparse
from datetime import datetime
from pathlib import Path
from typing import Final

from bridge.archive.calendar import LOCAL
from bridge.base.words import Disposition, PackageState, RetentionClass
from bridge.store.entries import PAGE_MAX

LANGUAGES: Final = ("vi", "en")


def add_archive(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `archive` and what it can do to the parser of `hoichan`."""
    archive = commands.add_parser("archive", help="what was recorded: find, verify, compose, deliver, keep")
    deeds = archive.add_subparsers(required=True, metavar="DEED")
    spoken = argparse.ArgumentParser(add_help=False)
    spoken.add_argument("--lang", choices=LANGUAGES, help="in place of the terminal's language")
    spoken.add_argument("--json", action="store_true", help="print JSON for machines")
    shared = argparse.ArgumentParser(add_help=False, parents=[spoken])
    shared.add_argument("--config", type=Path, metavar="FILE", help="settings; see configs/bridge.toml")
    shared.add_argument("--state-dir", metavar="DIR", help="in place of node.state_dir")
    named = argparse.ArgumentParser(add_help=False, parents=[shared])
    named.add_argument("package", metavar="PACKAGE", help="e.g. HC-BV-20261125-01-C01")
    reasoned = argparse.ArgumentParser(add_help=False, parents=[named])
    reasoned.add_argument("--reason", required=True, help="why; it goes into the audit")

    def add(name: str, parent: argparse.ArgumentParser, text: str) -> argparse.ArgumentParser:
        parser = deeds.add_parser(name, parents=[parent], help=text)
        parser.set_defaults(command=_run, deed=name)
        return parser

    _add_search(add("list", shared, "list packages, the newest first"))
    add("show", named, "tell everything that is known of a package")
    proof = add("verify", spoken, "prove packages, on any machine")
    proof.add_argument(
        "paths", nargs="+", type=Path, metavar="PATH", help="a package, or a folder of packages"
    )
    compose = add("compose", shared, "make a package, or all that wait, here and now")
    which = compose.add_mutually_exclusive_group()
    which.add_argument("package", nargs="?", metavar="PACKAGE", help="all that wait unless given")
    which.add_argument("--session", type=Path, metavar="DIR", help="all packages of this recorded session")
    deliver = add("deliver", shared, "deliver a package, or all that wait, to the PACS")
    deliver.add_argument("package", nargs="?", metavar="PACKAGE", help="all that wait unless given")
    add("check", named, "compare a package of the archive with its checksums, and remember the result")
    add("recover", shared, "make the catalogue anew from what lies on the disk")
    add("hold", reasoned, "forbid to delete a package, whatever its retention says")
    add("release", reasoned, "take a legal hold off")
    retain = add("retain", reasoned, "keep a package for longer")
    retain.add_argument(
        "--class", dest="retention", type=RetentionClass, choices=list(RetentionClass), required=True
    )
    delete = add("delete", reasoned, "delete a package whose retention has ended")
    delete.add_argument(
        "--approved-by",
        action="append",
        required=True,
        metavar="NAME",
        help="who decided it; more than once for more",
    )
    add("withdraw", reasoned, "hold a package back, because its patient has withdrawn consent")
    decide = add("decide", reasoned, "decide what becomes of a package that is held back")
    decide.add_argument(
        "decision", choices=[word.value for word in Disposition if word is not Disposition.OPEN]
    )
    decide.add_argument(
        "--by", action="append", required=True, metavar="NAME", help="who decides; twice to destroy"
    )


def _add_search(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "text", nargs="*", metavar="WORD", help="of title, site or code; accents do not matter"
    )
    parser.add_argument("--code", default="", help="case code")
    parser.add_argument("--site", default="", help="site that took part")
    parser.add_argument("--from", dest="first_day", type=_day, metavar="DAY", help="YYYY-MM-DD")
    parser.add_argument("--until", dest="last_day", type=_day, metavar="DAY", help="YYYY-MM-DD, inclusive")
    parser.add_argument("--state", action="append", type=PackageState, choices=list(PackageState), default=[])
    parser.add_argument("--undecided", action="store_true", help="held back: people have to decide")
    parser.add_argument("--room", action="append", help="identifier of a conference")
    parser.add_argument("--limit", type=_count, default=50, metavar="N", help=f"1 to {PAGE_MAX}")
    parser.add_argument("--offset", type=_offset, default=0, metavar="N", help="leave the first N out")


def _run(parsed: argparse.Namespace) -> int:
    # Here, because the other commands of hoichan need neither a database nor tables.
    from bridge.commands.archive import run

    return run(parsed)


def _day(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=LOCAL)
    except ValueError as error:
        raise argparse.ArgumentTypeError("must be a day, written YYYY-MM-DD") from error


def _count(text: str) -> int:
    return _whole_number(text, 1, PAGE_MAX)


def _offset(text: str) -> int:
    return _whole_number(text, 0, 10_000_000)


def _whole_number(text: str, least: int, most: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"must be a whole number between {least} and {most}")
    return value
