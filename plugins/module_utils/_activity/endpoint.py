# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Where the activity store is: from parameters, else from the environment variables that CI jobs have."""

from __future__ import annotations

import typing as t
import urllib.parse
from dataclasses import dataclass, field

DEFAULT_PORT = 6379
_SCHEMES = ("redis", "rediss", "unix")


class ActivityError(Exception):
    """The activity store is not configured, does not answer, or refused. The message holds no secret."""


@dataclass(frozen=True)
class Endpoint:
    """One Redis server.

    Attributes:
        name: The server in words, without a secret.
        url: Where it was given as a URL.
        arguments: Further arguments of the Redis client, by its own names. They go before those in the URL.
        secrets: What must not be shown, wherever it comes back from.
    """

    name: str
    url: str | None = field(default=None, repr=False)
    arguments: dict[str, t.Any] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def find_endpoint(params: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> Endpoint:
    """Find the server.

    A URL or host among the parameters goes before REDIS_URL, and that before REDIS_HOST. A port or password that is
    still missing comes from REDIS_PORT and REDIS_PASSWORD.

    Raises:
        ActivityError: Nothing is configured, or what is configured is malformed.
    """
    given = {key: params.get(f"redis_{key}") for key in ("username", "password", "db")}
    arguments = {key: value for key, value in given.items() if value not in (None, "")}
    url, host = params.get("redis_url"), params.get("redis_host")
    if url and host:
        raise ActivityError("redis_url: both redis_url and redis_host are set. Give one of them.")
    if not url and not host:
        url = environ.get("REDIS_URL")
        host = None if url else environ.get("REDIS_HOST")
    if url:
        return _from_url(url, "redis_url" if params.get("redis_url") else "REDIS_URL", arguments, params, environ)
    if not host:
        raise ActivityError("redis_url: no Redis is named. Set redis_url or redis_host, or REDIS_URL or REDIS_HOST.")
    if environ.get("REDIS_PASSWORD"):
        arguments.setdefault("password", environ["REDIS_PASSWORD"])
    if params.get("redis_tls"):
        arguments["ssl"] = True
        arguments.update(_ca_certs(params))
    port = _port(params, environ)
    arguments.update(host=host, port=port)
    return Endpoint(f"{host}:{port}", arguments=arguments, secrets=_secrets(arguments.get("password")))


def _from_url(
    url: str,
    source: str,
    arguments: dict[str, t.Any],
    params: t.Mapping[str, t.Any],
    environ: t.Mapping[str, str],
) -> Endpoint:
    malformed = ActivityError(
        f"{source}: its host or port is malformed. In a password, write # / ? @ and : as %23 %2F %3F %40 and %3A."
    )
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or DEFAULT_PORT
    except ValueError as error:
        raise malformed from error
    if parts.scheme not in _SCHEMES or not (parts.netloc or parts.path):
        wanted = ", ".join(f"{scheme}://" for scheme in _SCHEMES)
        raise ActivityError(f"{source}: not the URL of a Redis. It begins with one of {wanted} and names a server.")
    # A password with an unescaped mark cuts the URL short, and its first part would be taken for the host or the port.
    rest = f"{parts.query}{parts.fragment}" if parts.scheme == "unix" else f"{parts.path}{parts.query}{parts.fragment}"
    if "@" in rest or parts.fragment or (parts.scheme != "unix" and not parts.hostname):
        raise malformed
    if params.get("redis_tls") and parts.scheme == "redis":
        raise ActivityError(f"redis_tls: is for redis_host, but {source} is set. Begin the URL with rediss:// instead.")
    if not parts.password and environ.get("REDIS_PASSWORD"):
        arguments.setdefault("password", environ["REDIS_PASSWORD"])
    if parts.scheme == "rediss":
        arguments.update(_ca_certs(params))
    name = parts.path if parts.scheme == "unix" else f"{parts.hostname}:{port}"
    return Endpoint(name, url, arguments, _secrets(arguments.get("password"), parts.password, url))


def _secrets(*values: str | None) -> frozenset[str]:
    plain = {value for value in values if value}
    return frozenset(plain | {urllib.parse.unquote(value) for value in plain})


def _ca_certs(params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {"ssl_ca_certs": params["redis_ca_certs"]} if params.get("redis_ca_certs") else {}


def _port(params: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> int:
    given = params.get("redis_port")
    source = "REDIS_PORT" if given is None else "redis_port"
    text = str(given) if given is not None else environ.get("REDIS_PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ActivityError(
            f"{source}: {text!r} is no port number. Set redis_port, or REDIS_PORT, to one from 1 to 65535."
        )
    return int(text)
