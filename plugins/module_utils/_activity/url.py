# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The URLs of an activity store: one server, Sentinels that know the master, or the nodes of a Cluster."""

from __future__ import annotations

import re
import typing as t
import urllib.parse
from dataclasses import dataclass, field

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster")
_SENTINEL_PORT = 26379
_PORT = 6379


class MalformedUrlError(ValueError):
    """It is not the URL of a Redis. The message says why, and holds no secret."""


@dataclass(frozen=True)
class Location:
    """What a URL names.

    Attributes:
        kind: "server", "sentinel" or "cluster".
        name: The servers in words, without a secret.
        url: The URL of one server as the Redis client reads it; where many were given, that of the first.
        tls: Whether it asks for TLS.
        password: As it is written in the URL.
        nodes: The servers that were given.
        master: The name under which Sentinels know the master.
    """

    kind: str
    name: str
    url: str = field(repr=False)
    tls: bool = False
    password: str | None = field(default=None, repr=False)
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""


def parse_url(url: str) -> Location:
    """Read a URL.

    Raises:
        MalformedUrlError: It is not one of a Redis.
    """
    try:
        return _parse([urllib.parse.urlsplit(each) for each in _one_host_each(url)], url)
    except MalformedUrlError:
        raise
    except ValueError as error:
        hint = "In a password, write # / ? @ and : as %23 %2F %3F %40 and %3A."
        raise MalformedUrlError(f"its host or port is malformed. {hint}") from error


def _one_host_each(url: str) -> list[str]:
    """Make of a URL with many hosts, which no library reads, one for each."""
    scheme, mark, rest = url.partition("://")
    netloc = re.split(r"[/?#]", rest, maxsplit=1)[0]
    user, at, hosts = netloc.rpartition("@")
    return [f"{scheme}{mark}{user}{at}{host}{rest[len(netloc) :]}" for host in hosts.split(",")]


def _parse(all_parts: t.Sequence[urllib.parse.SplitResult], url: str) -> Location:
    parts = all_parts[0]
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.path):
        wanted = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise MalformedUrlError(f"not the URL of a Redis. It begins with one of {wanted} and names a server.")
    unix = parts.scheme == "unix"
    # A password with an unescaped mark cuts the URL short, and its first part would be taken for the host or the port.
    if parts.fragment or "@" in parts.query or (not unix and "@" in parts.path):
        raise ValueError
    if unix:
        return Location("server", parts.path, url, password=parts.password)
    protocol, _plus, kind = parts.scheme.partition("+")
    default_port = _SENTINEL_PORT if kind == "sentinel" else _PORT
    nodes = tuple((each.hostname or "", each.port or default_port) for each in all_parts)
    if not all(host for host, _port in nodes):
        raise ValueError
    name = ",".join(f"{host}:{port}" for host, port in nodes)
    tls = protocol == "rediss"
    if not kind:
        if len(nodes) > 1:
            raise MalformedUrlError("several hosts. Begin the URL with redis+sentinel:// or redis+cluster://.")
        return Location("server", name, url, tls, parts.password, nodes)
    master, path = _master(parts.path) if kind == "sentinel" else ("", parts.path)
    if kind == "cluster" and path not in ("", "/", "/0"):
        raise MalformedUrlError("a Redis Cluster has no database but 0. Leave out what stands behind the hosts.")
    first = urllib.parse.urlunsplit((protocol, parts.netloc, path, parts.query, ""))
    return Location(kind, f"{kind} {name}", first, tls, parts.password, nodes, master)


def _master(path: str) -> tuple[str, str]:
    name, _slash, database = path.removeprefix("/").partition("/")
    if not name:
        raise MalformedUrlError("names no master. Write redis+sentinel://host:port,host:port/name-of-the-master.")
    return urllib.parse.unquote(name), f"/{database}" if database else ""
