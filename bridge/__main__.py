"""The command line: `hoichan serve`, `invite`, `token`, `links`, `check-config`, `archive`."""

import argparse
import asyncio
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvloop

from bridge import __version__
from bridge.base.errors import InvalidConfig, InvalidMessage
from bridge.base.words import ConferenceKind, Level, Role
from bridge.commands import demo
from bridge.commands.check import EXIT_INVALID, report
from bridge.commands.links import add_links
from bridge.commands.parser import LANGUAGES, add_archive
from bridge.commands.texts import Speech, language
from bridge.conference.roles import ARCHIVE_ROLES, ROOM_ROLES
from bridge.config import Config, check, load
from bridge.node.host import base_url, existing_token_secret, prepare_state_dir
from bridge.node.links import LinkFiles
from bridge.node.log import write_log
from bridge.tokens import TokenKind, Tokens

logger = logging.getLogger("bridge")

# Browsers take plain http for a secure context on loopback only, where 8080 is the custom.
PLAIN_HTTP_PORT = 8080
HOUR_S = 3600
DAY_S = 86400


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the process's exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], int] = parsed.command
        return command(parsed)
    except InvalidConfig as error:
        print(f"hoichan: {error}", file=sys.stderr)
    except InvalidMessage as error:
        print(f"hoichan: {error.sentence}", file=sys.stderr)
    return EXIT_INVALID


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hoichan", description="A multipoint tele-consultation bridge.")
    parser.add_argument("--version", action="version", version=f"hoichan {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--config", type=Path, metavar="FILE", help="settings; see configs/bridge.toml")
    shared.add_argument("--state-dir", metavar="DIR", help="in place of node.state_dir")
    shared.add_argument("--port", type=_port, metavar="N", help="in place of http.port")
    shared.add_argument(
        "--http",
        action="store_true",
        help=f"without TLS: on loopback and port {PLAIN_HTTP_PORT} unless settings say otherwise",
    )

    serve = commands.add_parser("serve", parents=[shared], help="run the bridge until SIGTERM or Ctrl-C")
    serve.add_argument("--media-port", type=_port, metavar="N", help="in place of media.port")
    serve.add_argument("--demo", action="store_true", help="print links to a demo conference")
    serve.set_defaults(command=_serve)

    holder = argparse.ArgumentParser(add_help=False)
    holder.add_argument("--site", required=True, help="the bridge point's name")
    holder.add_argument(
        "--level",
        type=Level,
        choices=list(Level),
        default=Level.DISTRICT,
        help="district: a regional centre, between province and commune; default: %(default)s",
    )
    holder.add_argument("--name", help="the person's or device's name; people are asked at the door")
    life = holder.add_mutually_exclusive_group()
    life.add_argument("--days", type=_days, metavar="N", help="in place of rooms.invitation_lifetime_days")
    life.add_argument("--hours", type=_hours, metavar="N", help="for how many hours it is good")
    life.add_argument(
        "--until",
        type=_moment,
        metavar="TIME",
        help="until when, local time: 2026-12-01T17:30, or a whole day",
    )

    invite = commands.add_parser("invite", parents=[shared, holder], help="print a link for one bridge point")
    _add_room(invite, is_required=True)
    invite.add_argument(
        "--role", type=Role, choices=ROOM_ROLES, default=Role.PRESENTER, help="default: %(default)s"
    )
    invite.add_argument("--token-only", action="store_true", help="print the token in place of the link")
    invite.set_defaults(command=_invite)

    token = commands.add_parser(
        "token",
        parents=[shared, holder],
        help="print a bearer token for a WHIP or WHEP device, or the key to the library of all recordings",
    )
    token.add_argument("--type", choices=["publish", "watch", "archive"], required=True, dest="kind")
    _add_room(token, is_required=False)
    token.add_argument(
        "--role",
        type=Role,
        choices=sorted(ARCHIVE_ROLES),
        default=Role.ARCHIVIST,
        help="for archive: in which capacity its holder reads recordings; default: %(default)s",
    )
    token.add_argument("--link", action="store_true", help="for archive: print a link in place of the token")
    token.set_defaults(command=_token)

    tried = commands.add_parser(
        "check-config", parents=[shared], help="try the settings: files, folders, disks, addresses and ports"
    )
    tried.add_argument("--lang", choices=LANGUAGES, help="in place of the terminal's language")
    tried.set_defaults(command=_check_config)

    add_links(commands)
    add_archive(commands)
    return parser


def _add_room(parser: argparse.ArgumentParser, *, is_required: bool) -> None:
    parser.add_argument(
        "--room", required=is_required, help="identifier of the conference, e.g. hoi-chan-tim-mach"
    )
    parser.add_argument("--title", help="what participants read; the identifier unless given")
    parser.add_argument(
        "--kind",
        type=ConferenceKind,
        choices=list(ConferenceKind),
        default=ConferenceKind.CONSULTATION,
        dest="conference_kind",
        help="what it is for, and so when it is recorded; the same in all its links; default: %(default)s",
    )


def _port(text: str) -> int:
    return _whole_number(text, 0, 65535)


def _days(text: str) -> int:
    return _whole_number(text, 1, 366)


def _hours(text: str) -> int:
    return _whole_number(text, 1, 366 * 24)


def _moment(text: str) -> datetime:
    """Read a local time; a day alone is good to its end."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a time, written 2026-12-01T17:30") from None
    if len(text) == len("2026-12-01"):
        moment += timedelta(days=1)
    moment = moment.astimezone()
    if not datetime.now(UTC) < moment <= datetime.now(UTC) + timedelta(days=366):
        raise argparse.ArgumentTypeError("must lie in the next 366 days")
    return moment


def _whole_number(text: str, least: int, most: int) -> int:
    value = int(text) if text.isascii() and text.isdigit() else -1
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"must be a whole number between {least} and {most}")
    return value


def _config(parsed: argparse.Namespace) -> Config:
    """Settings from file and environment, then what the command line says."""
    config = load(parsed.config, os.environ)
    http, media, node = config.http, config.media, config.node
    if parsed.http:
        http = replace(
            http,
            tls=False,
            host=http.host or "127.0.0.1",
            port=PLAIN_HTTP_PORT if http.port == Config().http.port else http.port,
        )
    if parsed.port is not None:
        http = replace(http, port=parsed.port)
    if getattr(parsed, "media_port", None) is not None:
        media = replace(media, port=parsed.media_port)
    if parsed.state_dir is not None:
        node = replace(node, state_dir=parsed.state_dir)
    config = replace(config, http=http, media=media, node=node)
    check(config)
    return config


def _serve(parsed: argparse.Namespace) -> int:
    config = _config(parsed)
    write_log(config.node.log_level)
    _raise_file_limit()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(config, with_demo=parsed.demo))
    return 0


def _raise_file_limit() -> None:
    """Each WebSocket and each TCP connection takes a descriptor; shells often allow 1,024 at first."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _run(config: Config, *, with_demo: bool) -> None:
    # Here, because the media stack takes most of a second to import, and the other commands need none of it.
    from bridge.server import Server

    server = Server(config)
    first, second = asyncio.Event(), asyncio.Event()

    def asked_to_stop() -> None:
        (second if first.is_set() else first).set()

    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, asked_to_stop)
    await server.start()
    logger.info(
        "hoichan %s: %s, media on port %d, metrics on http://%s:%d/metrics",
        __version__,
        base_url(config),
        config.media.port,
        config.admin.host,
        config.admin.port,
    )
    if with_demo:
        print(_demo_links(config, server.tokens), flush=True)
    await first.wait()
    logger.info("closing; once more to close at once")
    drain = asyncio.create_task(server.drain())
    hurry = asyncio.create_task(second.wait())
    await asyncio.wait({drain, hurry}, return_when=asyncio.FIRST_COMPLETED)
    for task in (drain, hurry):
        task.cancel()
    await asyncio.gather(drain, hurry, return_exceptions=True)
    await server.stop()
    logger.info("closed")


def _demo_links(config: Config, tokens: Tokens) -> str:
    say = Speech(language(None))
    lines = ["", demo.TITLE, ""]
    for guest in demo.GUESTS:
        invitation = tokens.invitation(
            room=demo.ROOM,
            title=demo.TITLE,
            site=guest.site,
            level=guest.level,
            role=guest.role,
            lifetime_s=config.rooms.invitation_lifetime_days * DAY_S,
            conference_kind=demo.KIND,
        )
        _note(config, invitation, TokenKind.INVITATION)
        role = say(f"role.{guest.role.value}")
        lines += [f"  {role}: {guest.site}", f"  {base_url(config)}/room/#i={invitation}", ""]
    if config.http.tls and not config.http.certificate_file:
        lines += [say("demo.self-signed"), ""]
    lines.append(say("demo.open"))
    return "\n".join(lines)


def _invite(parsed: argparse.Namespace) -> int:
    config = _config(parsed)
    invitation = _tokens(config).invitation(
        room=parsed.room,
        title=parsed.title or parsed.room,
        site=parsed.site,
        level=parsed.level,
        role=parsed.role,
        name=parsed.name,
        lifetime_s=_lifetime_s(config, parsed),
        conference_kind=parsed.conference_kind,
    )
    _note(config, invitation, TokenKind.INVITATION)
    print(invitation if parsed.token_only else f"{base_url(config)}/room/#i={invitation}")
    return 0


def _token(parsed: argparse.Namespace) -> int:
    config = _config(parsed)
    kind = TokenKind(parsed.kind)
    if kind is TokenKind.ARCHIVE:
        return _archive_token(config, parsed)
    if parsed.room is None:
        raise InvalidMessage("invalid-message", f"a token to {kind.value} needs --room")
    bearer = _tokens(config).device(
        kind,
        room=parsed.room,
        title=parsed.title or parsed.room,
        site=parsed.site,
        level=parsed.level,
        role=Role.PRESENTER if kind is TokenKind.PUBLISH else Role.OBSERVER,
        name=parsed.name,
        lifetime_s=_lifetime_s(config, parsed),
        conference_kind=parsed.conference_kind,
    )
    _note(config, bearer, kind)
    print(bearer)
    return 0


def _archive_token(config: Config, parsed: argparse.Namespace) -> int:
    key = _tokens(config).archive(
        site=parsed.site,
        level=parsed.level,
        role=parsed.role,
        name=parsed.name,
        lifetime_s=_lifetime_s(config, parsed),
    )
    _note(config, key, TokenKind.ARCHIVE)
    print(f"{base_url(config)}/library/#i={key}" if parsed.link else key)
    return 0


def _check_config(parsed: argparse.Namespace) -> int:
    return report(_config(parsed), parsed.config, os.environ, language(parsed.lang))


def _tokens(config: Config) -> Tokens:
    tokens = Tokens(existing_token_secret(config))
    print(Speech(language(None))("signed", folder=config.node.state_dir), file=sys.stderr)
    return tokens


def _note(config: Config, token: str, kind: TokenKind) -> None:
    """Write down that a link is out, before anybody has it: only so can it be found and revoked."""
    claims = Tokens(existing_token_secret(config)).read(token, kind)
    LinkFiles(prepare_state_dir(config)).issued(claims, time.time())


def _lifetime_s(config: Config, parsed: argparse.Namespace) -> int:
    if parsed.until is not None:
        return int(parsed.until.timestamp() - time.time())
    if parsed.hours is not None:
        return int(parsed.hours) * HOUR_S
    days: int = parsed.days or config.rooms.invitation_lifetime_days
    return days * DAY_S


if __name__ == "__main__":
    sys.exit(main())
