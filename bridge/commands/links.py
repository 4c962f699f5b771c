"""`hoichan links list | revoke`: which links are out, and how one of them is made worthless."""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bridge.commands.parser import LANGUAGES
from bridge.commands.texts import Speech, language
from bridge.config import check, load
from bridge.node.host import state_dir
from bridge.node.links import IssuedLink, LinkFiles

EXIT_PROBLEMS: Final = 1
COLUMNS: Final = ("id", "kind", "room", "role", "site", "name", "until", "state")


def add_links(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `links` and what it can do to the parser of `hoichan`."""
    links = commands.add_parser("links", help="links that were issued: list them, revoke them")
    deeds = links.add_subparsers(required=True, metavar="DEED")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="settings; see configs/bridge.toml")
    shared.add_argument("--state-dir", metavar="DIR", help="in place of node.state_dir")
    shared.add_argument("--lang", choices=LANGUAGES, help="in place of the terminal's language")
    shared.add_argument("--room", metavar="ROOM", help="only the links of this conference")
    shown = deeds.add_parser("list", parents=[shared], help="list links that are good, the newest first")
    shown.add_argument("--all", action="store_true", help="also what has expired or was revoked")
    shown.add_argument("--json", action="store_true", help="print JSON for machines")
    shown.set_defaults(command=_list)
    revoke = deeds.add_parser(
        "revoke",
        parents=[shared],
        help="make links worthless at once; whoever is in by one of them has to go",
    )
    revoke.add_argument(
        "ids",
        nargs="*",
        metavar="ID",
        help="as `links list` shows it, after -- if it begins with a dash; or --room for all of a room",
    )
    revoke.set_defaults(command=_revoke)


def _list(parsed: argparse.Namespace) -> int:
    files, say, now_s = _files(parsed), Speech(language(parsed.lang)), time.time()
    revoked = files.revoked()
    found = [link for link in reversed(files.links()) if parsed.room in (None, link.room)]
    if not parsed.all:
        found = [link for link in found if link.id not in revoked and link.expires_s > now_s]
    states = {
        link.id: "revoked" if link.id in revoked else "good" if link.expires_s > now_s else "expired"
        for link in found
    }
    if parsed.json:
        print(json.dumps([{**asdict(link), "state": states[link.id]} for link in found], ensure_ascii=False))
        return 0
    if not found:
        print(say("links.none"))
        return 0
    head = [say(f"links.column.{column}") for column in COLUMNS]
    for row in _aligned([head, *([*_cells(link), say(f"links.state.{states[link.id]}")] for link in found)]):
        print(row)
    return 0


def _revoke(parsed: argparse.Namespace) -> int:
    files, say = _files(parsed), Speech(language(parsed.lang))
    known = {link.id: link for link in files.links()}
    if not parsed.ids and parsed.room is None:
        print(say("links.which"), file=sys.stderr)
        return EXIT_PROBLEMS
    ids = parsed.ids or [link.id for link in known.values() if link.room == parsed.room]
    unknown = [link_id for link_id in ids if link_id not in known]
    if unknown or not ids:
        for link_id in unknown or [parsed.room]:
            print(say("links.unknown", id=link_id), file=sys.stderr)
        return EXIT_PROBLEMS
    files.revoke(known[link_id] for link_id in ids)
    for link_id in ids:
        print(say("links.revoked", id=link_id, site=known[link_id].site))
    return 0


def _files(parsed: argparse.Namespace) -> LinkFiles:
    config = load(parsed.config, os.environ)
    if parsed.state_dir is not None:
        config = replace(config, node=replace(config.node, state_dir=parsed.state_dir))
    check(config)
    return LinkFiles(state_dir(config))


def _cells(link: IssuedLink) -> list[str]:
    until = datetime.fromtimestamp(link.expires_s, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
    return [link.id, link.kind, link.room, link.role, link.site, link.name or "", until]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
