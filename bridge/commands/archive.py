"""`hoichan archive`: list, show, verify, compose, deliver, check, recover, and what people decide.

Exit status: 0 when everything is well, 1 when problems were found, 2 for what cannot be asked like this.
"""

import argparse
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from bridge.archive.folders import ArchiveFolders
from bridge.archive.work.attempts import Archive
from bridge.base.counters import ArchiveCounters
from bridge.base.errors import ArchiveFailed
from bridge.commands import consent, keeping, work
from bridge.commands.proof import verify
from bridge.commands.shown import Terminal
from bridge.commands.texts import Speech, language
from bridge.config import Config, load
from bridge.node.host import archive_dir, recording_dir
from bridge.store.catalogue import Catalogue
from bridge.store.entries import Search

EXIT_PROBLEMS: Final = 1
WHO: Final = "command line"


def run(parsed: argparse.Namespace) -> int:
    """Do what was asked for and return the exit status; raises InvalidConfig."""
    terminal = Terminal(Speech(language(parsed.lang)), is_json=parsed.json)
    if parsed.deed == "verify":
        return verify(parsed.paths, terminal)
    archive = _archive(_config(parsed))
    try:
        return _DEEDS[str(parsed.deed)](parsed, terminal, archive)
    except ArchiveFailed as error:
        terminal.failure("failed", what="hoichan", sentence=terminal.say.failure(error.code, error.sentence))
        return EXIT_PROBLEMS
    finally:
        archive.catalogue.close()


def _list(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    search = Search(
        text=" ".join(parsed.text),
        code=parsed.code,
        site=parsed.site,
        from_ms=None if parsed.first_day is None else _unix_ms(parsed.first_day),
        until_ms=None if parsed.last_day is None else _unix_ms(parsed.last_day + timedelta(days=1)),
        states=tuple(parsed.state),
        is_undecided=parsed.undecided,
        rooms=None if parsed.room is None else tuple(parsed.room),
        offset=parsed.offset,
        limit=parsed.limit,
    )
    terminal.page(archive.catalogue.search(search))
    return 0


def _show(parsed: argparse.Namespace, terminal: Terminal, archive: Archive) -> int:
    entry = archive.catalogue.package(parsed.package)
    if entry is None:
        terminal.failure("unknown-package", package=parsed.package)
        return EXIT_PROBLEMS
    catalogue = archive.catalogue
    terminal.package(entry, catalogue.deliveries(entry.id), catalogue.audit.entries(package=entry.id))
    return 0


def _config(parsed: argparse.Namespace) -> Config:
    config = load(parsed.config, os.environ)
    if parsed.state_dir is not None:
        config = replace(config, node=replace(config.node, state_dir=parsed.state_dir))
    return config


def _archive(config: Config) -> Archive:
    folders = ArchiveFolders(recording_dir(config), archive_dir(config))
    return Archive(
        folders,
        config.archive,
        config.dicom,
        Catalogue(folders.archive),
        ArchiveCounters(),
        who=WHO,
    )


def _unix_ms(day: datetime) -> int:
    return round(day.timestamp() * 1000)


_DEEDS: Final[Mapping[str, Callable[[argparse.Namespace, Terminal, Archive], int]]] = {
    "list": _list,
    "show": _show,
    "compose": work.compose,
    "deliver": work.deliver,
    "check": work.check,
    "recover": work.recover,
    "hold": keeping.hold,
    "release": keeping.release,
    "retain": keeping.retain,
    "delete": keeping.delete,
    "withdraw": consent.withdraw,
    "decide": consent.decide,
}
