"""The sockets of the media port: one number for UDP and TCP, both address families where there are two."""

import errno
import socket
from collections.abc import Sequence
from ipaddress import ip_address

from aioice.ice import get_host_addresses


def bind(host: str | None, port: int, *, tcp: bool) -> tuple[socket.socket, socket.socket | None]:
    """Bind UDP and TCP to one number; a number taken for TCP means another try when any will do."""
    tries = 1 if port else 20
    while True:
        tries -= 1
        udp = _bind_one(host, port, socket.SOCK_DGRAM)
        if not tcp:
            return udp, None
        try:
            return udp, _bind_one(host, udp.getsockname()[1], socket.SOCK_STREAM)
        except OSError:
            udp.close()
            if not tries:
                raise


def _bind_one(host: str | None, port: int, kind: socket.SocketKind) -> socket.socket:
    if host is not None:
        family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET
        return _bound(family, (host, port), kind)
    try:
        return _bound(socket.AF_INET6, ("::", port), kind)
    except OSError as error:
        # Linux without IPv6: the family is unknown, or the wildcard address is.
        if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
            raise
        return _bound(socket.AF_INET, ("0.0.0.0", port), kind)


def _bound(family: socket.AddressFamily, address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
    bound = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        if kind == socket.SOCK_STREAM:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def candidate_addresses(announced: Sequence[str], host: str | None, family: int) -> list[str]:
    """Return the addresses for candidates, each once: those announced, or the machine's own.

    No link-local ones: another machine reaches them only with the name of an interface of its own.
    """
    found = [ip_address(one.partition("%")[0]) for one in announced or local_addresses(host, family)]
    return [one.compressed for one in dict.fromkeys(found) if not one.is_link_local]


def local_addresses(host: str | None, family: int) -> list[str]:
    """Return the addresses that clients may reach us at, loopback last (for a browser on this machine)."""
    if host is not None and not ip_address(host).is_unspecified:
        return [host]
    use_ipv6 = family == socket.AF_INET6
    found = get_host_addresses(use_ipv4=True, use_ipv6=use_ipv6)
    loopback = ["127.0.0.1", *(["::1"] if use_ipv6 else [])]
    return [*dict.fromkeys(found), *filter(_is_here, loopback)]


def _is_here(address: str) -> bool:
    # Sockets of a family do not mean that there are addresses of it: see net.ipv6.conf.all.disable_ipv6, and
    # machines whose IPv4 was taken away.
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        _bound(family, (address, 0), socket.SOCK_DGRAM).close()
    except OSError:
        return False
    return True
