# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Where the activity store is: from parameters, else from the environment variables that CI jobs have."""

from __future__ import annotations

import typing as t
import urllib.parse
from dataclasses import dataclass, field

from .url import MalformedUrlError, parse_url

DEFAULT_PORT = 6379


class ActivityError(Exception):
    """The activity store is not configured, does not answer, or refused. The message holds no secret."""


@dataclass(frozen=True)
class Endpoint:
    """An activity store.

    Attributes:
        name: The server in words, without a secret.
        url: Where it was given as a URL; of many servers, that of the first.
        arguments: Further arguments of the Redis client, by its own names. They go before those in the URL.
        secrets: What must not be shown, wherever it comes back from.
        kind: "server", "sentinel" or "cluster".
        nodes: The Sentinels, or nodes of the Cluster, to ask.
        master: The name under which Sentinels know the master.
        sentinel_arguments: The user and password of the Sentinels.
    """

    name: str
    url: str | None = field(default=None, repr=False)
    arguments: dict[str, t.Any] = field(default_factory=dict, repr=False)
    secrets: frozenset[str] = field(default=frozenset(), repr=False)
    kind: str = "server"
    nodes: tuple[tuple[str, int], ...] = ()
    master: str = ""
    sentinel_arguments: dict[str, t.Any] = field(default_factory=dict, repr=False)


def find_endpoint(params: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> Endpoint:
    """Find the server.

    A URL or host among the parameters goes before REDIS_URL, and that before REDIS_HOST. A port or password that is
    still missing comes from REDIS_PORT and REDIS_PASSWORD.

    Raises:
        ActivityError: Nothing is configured, or what is configured is malformed.
    """
    url, host = params.get("redis_url"), params.get("redis_host")
    if url and host:
        raise ActivityError("redis_url: both redis_url and redis_host are set. Give one of them.")
    if not url and not host:
        url = environ.get("REDIS_URL")
        host = None if url else environ.get("REDIS_HOST")
    if url:
        return _from_url(url, "redis_url" if params.get("redis_url") else "REDIS_URL", params, environ)
    if not host:
        raise ActivityError("redis_url: no Redis is named. Set redis_url or redis_host, or REDIS_URL or REDIS_HOST.")
    port = _port(params, environ)
    arguments = _arguments(params, environ.get("REDIS_PASSWORD"), bool(params.get("redis_tls")))
    if params.get("redis_tls"):
        arguments["ssl"] = True
    arguments.update(host=host, port=port)
    return Endpoint(f"{host}:{port}", arguments=arguments, secrets=_secrets(arguments.get("password")))


def _from_url(url: str, source: str, params: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> Endpoint:
    try:
        location = parse_url(url)
    except MalformedUrlError as error:
        raise ActivityError(f"{source}: {error}") from error
    if params.get("redis_tls") and location.nodes and not location.tls:
        raise ActivityError(f"redis_tls: is for redis_host, but {source} is set. Begin the URL with rediss:// instead.")
    arguments = _arguments(params, None if location.password else environ.get("REDIS_PASSWORD"), location.tls)
    if location.kind == "cluster" and arguments.pop("db", 0):
        raise ActivityError("redis_db: a Redis Cluster has no database but 0. Leave redis_db out.")
    of_sentinels = _given(params, username="redis_sentinel_username", password="redis_sentinel_password")
    return Endpoint(
        location.name,
        location.url,
        arguments,
        _secrets(arguments.get("password"), location.password, of_sentinels.get("password"), url),
        location.kind,
        location.nodes,
        location.master,
        of_sentinels,
    )


def _arguments(params: t.Mapping[str, t.Any], password: str | None, tls: bool) -> dict[str, t.Any]:
    arguments = _given(params, username="redis_username", password="redis_password", db="redis_db")
    if password:
        arguments.setdefault("password", password)
    if tls:
        arguments |= _given(
            params,
            ssl_ca_certs="redis_ca_certs",
            ssl_certfile="redis_client_cert",
            ssl_keyfile="redis_client_key",
        )
    return arguments


def _given(params: t.Mapping[str, t.Any], **names: str) -> dict[str, t.Any]:
    """The parameters that are set, under the names that the Redis client has for them."""
    return {key: params[name] for key, name in names.items() if params.get(name) not in (None, "")}


def _secrets(*values: str | None) -> frozenset[str]:
    plain = {value for value in values if value}
    return frozenset(plain | {urllib.parse.unquote(value) for value in plain})


def _port(params: t.Mapping[str, t.Any], environ: t.Mapping[str, str]) -> int:
    given = params.get("redis_port")
    source = "REDIS_PORT" if given is None else "redis_port"
    text = str(given) if given is not None else environ.get("REDIS_PORT") or str(DEFAULT_PORT)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ActivityError(
            f"{source}: {text!r} is no port number. Set redis_port, or REDIS_PORT, to one from 1 to 65535."
        )
    return int(text)
