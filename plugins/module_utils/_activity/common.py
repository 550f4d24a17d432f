# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The connection to an activity store: one server, the master that Sentinels name, or a Cluster."""

from __future__ import annotations

import hashlib
import math
import os
import time
import typing as t
from dataclasses import dataclass

from ansible.module_utils.common.parameters import remove_values

from .endpoint import ActivityError
from .failures import find_failure

if t.TYPE_CHECKING:
    from .endpoint import Endpoint

_PAUSE = 0.2
# A failover takes as long as it takes to notice that a server is down; a single server is only asked again.
_RETRY_FOR = {"server": 1.0, "sentinel": 30.0, "cluster": 30.0}

_TLS_FILES = {"ssl_ca_certs": "redis_ca_certs", "ssl_certfile": "redis_client_cert", "ssl_keyfile": "redis_client_key"}


@dataclass(frozen=True)
class Limits:
    """How long to wait for what.

    Attributes:
        timeout: Seconds for a connection, and for an answer.
        retry_for: Seconds within which a step that met a passing failure is begun again; None for what fits the endpoint.
        min_replicas: How many replicas must confirm a step that counts only then.
        replica_timeout: Seconds for them to do so.
    """

    timeout: float = 5.0
    retry_for: float | None = None
    min_replicas: int = 0
    replica_timeout: float = 1.0


@dataclass(frozen=True)
class Call:
    """One run of a script. All its keys are in the same place of a Cluster."""

    keys: tuple[str, ...]
    arguments: tuple[str | int | float, ...] = ()


class Connection:
    """A connection that is opened when it is used first, and again after a failure.

    Args:
        endpoint: The activity store.
        limits: How long to wait.

    Raises:
        ActivityError: The redis library is missing.
    """

    def __init__(self, endpoint: Endpoint, limits: Limits) -> None:
        # Imported here, because it takes a tenth of a second that a run without an activity store need not spend.
        try:
            import redis
            import redis.backoff
            import redis.cluster
            import redis.retry
            import redis.sentinel
        except ImportError as error:
            raise ActivityError("The Python library redis is missing: pip install 'redis>=5.0.0'.") from error
        self._redis = redis
        self._endpoint = endpoint
        self._limits = limits
        self._client: t.Any = None

    def run(self, script: str, calls: t.Sequence[Call], confirm: bool = False) -> tuple[list[t.Any], int]:
        """Run one script many times: one round trip to each server, and a further one where it does not know it yet.

        A passing failure has the whole run repeated, so running the script twice must come to the same as running it once.

        Args:
            script: The script.
            calls: Its keys and arguments.
            confirm: Wait for replicas.

        Returns:
            What the script answered to each call, and how many replicas have all that it wrote.

        Raises:
            ActivityError: There is no answer.
        """
        retry_for = self._limits.retry_for
        deadline = time.monotonic() + (_RETRY_FOR[self._endpoint.kind] if retry_for is None else retry_for)
        while True:
            try:
                return self._run(script, calls, confirm)
            except self._failures as error:
                self._close()
                failure = find_failure(error)
                if not failure.passing or time.monotonic() + _PAUSE > deadline:
                    raise ActivityError(
                        f"{failure.parameter}: Redis at {self._endpoint.name} {failure.finding} ({self._text(error)}). "
                        f"{failure.advice}"
                    ) from error
            # The real time, because the server outside takes it: everything else about time is the server's own.
            time.sleep(_PAUSE)

    @property
    def _failures(self) -> tuple[type[Exception], ...]:
        errors = self._redis.exceptions
        return (errors.RedisError, errors.RedisClusterException, OSError, TypeError, ValueError, AttributeError)

    def _run(self, script: str, calls: t.Sequence[Call], confirm: bool) -> tuple[list[t.Any], int]:
        # Another thread may drop the client meanwhile.
        client = self._client = self._client or self._open()
        answers: dict[Call, t.Any] = {}
        confirmed = []
        for server, together in self._by_server(client, calls):
            try:
                raw, replicas = self._pipeline(server, script, together, confirm)
            except self._redis.exceptions.NoScriptError:
                server.script_load(script)
                raw, replicas = self._pipeline(server, script, together, confirm)
            answers.update(zip(together, raw, strict=True))
            confirmed.append(replicas)
        return [answers[call] for call in calls], min(confirmed, default=0)

    def _by_server(self, client: t.Any, calls: t.Sequence[Call]) -> t.Iterable[tuple[t.Any, list[Call]]]:
        if self._endpoint.kind != "cluster":
            return [(client, list(calls))]
        servers: dict[str, tuple[t.Any, list[Call]]] = {}
        for call in calls:
            node = client.get_node_from_key(call.keys[0])
            servers.setdefault(node.name, (client.get_redis_connection(node), []))[1].append(call)
        return servers.values()

    def _pipeline(self, client: t.Any, script: str, calls: t.Sequence[Call], confirm: bool) -> tuple[list[t.Any], int]:
        digest = hashlib.sha1(script.encode()).hexdigest()
        pipeline = client.pipeline(transaction=False)
        for call in calls:
            pipeline.evalsha(digest, len(call.keys), *call.keys, *call.arguments)
        if confirm:
            # Of this connection: only there does it mean what was written just now.
            pipeline.execute_command("WAIT", self._limits.min_replicas, math.ceil(self._limits.replica_timeout * 1000))
        answers = pipeline.execute(raise_on_error=False)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return (answers[:-1], answers[-1]) if confirm else (answers, 0)

    def _close(self) -> None:
        """Forget the client, because it may be wrong about who is the master, or which node has a key."""
        client, self._client = self._client, None
        if client is None:
            return
        if self._endpoint.kind == "cluster":
            client.disconnect_connection_pools()
        else:
            client.connection_pool.disconnect(inuse_connections=False)

    def _open(self) -> t.Any:
        redis, endpoint, options = self._redis, self._endpoint, self._options()
        if endpoint.kind == "server":
            kind = options.pop("connection_class", redis.Connection)
            if options.pop("ssl", False):
                kind = redis.SSLConnection
            return redis.Redis(connection_pool=redis.ConnectionPool(connection_class=kind, **options))
        options = {key: value for key, value in options.items() if key not in ("connection_class", "host", "port")}
        if endpoint.kind == "cluster":
            nodes = [redis.cluster.ClusterNode(host, port) for host, port in endpoint.nodes]
            return redis.cluster.RedisCluster(startup_nodes=nodes, **options)
        of_sentinels = {key: value for key, value in options.items() if key not in ("username", "password", "db")}
        of_sentinels |= endpoint.sentinel_arguments
        return redis.sentinel.Sentinel(endpoint.nodes, sentinel_kwargs=of_sentinels, **options).master_for(
            endpoint.master
        )

    def _options(self) -> dict[str, t.Any]:
        limits = self._limits
        options: dict[str, t.Any] = {
            "decode_responses": True,
            "encoding_errors": "replace",
            "protocol": 2,
            "retry": self._redis.retry.Retry(self._redis.backoff.NoBackoff(), 0),
            "socket_connect_timeout": limits.timeout,
            "socket_timeout": limits.timeout + (limits.replica_timeout if limits.min_replicas else 0),
        }
        # redis.Redis.from_url would have the URL go before the arguments.
        if self._endpoint.url:
            options |= self._redis.connection.parse_url(self._endpoint.url)
        options |= self._endpoint.arguments
        if options.get("connection_class") is self._redis.SSLConnection:
            options["ssl"] = True
        if options.get("ssl"):
            # Only newer versions of the client do so by themselves.
            options.setdefault("ssl_check_hostname", True)
            for option, parameter in _TLS_FILES.items():
                if option in options and not os.path.isfile(options[option]):
                    raise ActivityError(
                        f"{parameter}: there is no file {options[option]}. Name one on the host that runs this."
                    )
        return options

    def _text(self, error: Exception) -> str:
        """The words of an error without a secret: a server may repeat what it was sent."""
        return str(remove_values(str(error), self._endpoint.secrets))
