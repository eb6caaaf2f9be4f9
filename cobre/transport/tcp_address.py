"""Where a tcp group meets, and whether that place is inside this host."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass

from cobre.transport.failures import invalid

__all__ = ["LOOPBACK", "Address", "meeting_place"]

LOOPBACK = "127.0.0.1"
"""Where groups meet that were told nothing."""


@dataclass(frozen=True)
class Address:
    """A host, as it was given, and a port. hosts: numeric addresses of the host, those of IPv4 first."""

    host: str
    port: int
    hosts: tuple[str, ...]

    @property
    def is_loopback(self) -> bool:
        """Whether every address of the host is reached from this host alone."""
        return all(ipaddress.ip_address(host.partition("%")[0]).is_loopback for host in self.hosts)

    @property
    def is_wildcard(self) -> bool:
        """Whether it stands for all addresses of a host, which can be listened at but not called."""
        return any(ipaddress.ip_address(host.partition("%")[0]).is_unspecified for host in self.hosts)

    def at(self, port: int) -> str:
        """The host with ``port``, as ``coordinator`` takes it."""
        return f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"

    def __str__(self) -> str:
        return self.at(self.port)


def meeting_place(name: str, text: str, port: int) -> Address:
    """The address in ``text``: ``host``, ``host:port``, ``[IPv6]:port``; ``port`` where it has none.

    name: of the setting, for errors. Raises CommError (InvalidArgument) for a text that is none, or a host that has no
    address.
    """
    host, given = _split(name, text)
    number = port if given is None else given
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number < 2**16:
        raise invalid("connect", f"port is {number!r}, but must be a whole number from 0 to 65535", port=number)
    try:
        found = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        advice = "give an address, or the name of a host that this host knows"
        raise invalid("connect", f"{name} is {text!r}, but {host!r} has no address: {reason}", advice) from None
    found.sort(key=lambda entry: entry[0] != socket.AF_INET)
    return Address(host, number, tuple(dict.fromkeys(str(entry[4][0]) for entry in found)))


def _split(name: str, text: str) -> tuple[str, int | None]:
    wrong = invalid("connect", f"{name} is {text!r}, but must be 'host', 'host:port' or '[IPv6 address]:port'")
    if not isinstance(text, str) or not text.strip() or "/" in text:
        raise wrong
    text = text.strip()
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise wrong
        port = rest[1:] if rest else None
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    else:
        host, port = text, None
    if not host or (port is not None and not (port.isascii() and port.isdigit())):
        raise wrong
    return host, None if port is None else int(port)
