# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to Redis. They decide nothing; every failure is an ActivityError."""

from __future__ import annotations

import contextlib
import hashlib
import typing as t

from ansible.module_utils.common.parameters import remove_values

from .endpoint import ActivityError
from .plan import Record
from .scripts import CHECK, TOUCH

if t.TYPE_CHECKING:
    from .endpoint import Endpoint


class ActivityStore:
    """The activity records in one Redis.

    Args:
        endpoint: The server.
        timeout: Seconds to wait for a connection, and for an answer.

    Raises:
        ActivityError: The redis library is missing.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        # Imported here, because it takes a tenth of a second that a run without an activity store need not spend.
        try:
            import redis
            import redis.backoff
            import redis.retry
        except ImportError as error:
            raise ActivityError("The Python library redis is missing: pip install 'redis>=5.0.0'.") from error
        self._redis = redis
        self._endpoint = endpoint
        arguments: dict[str, t.Any] = {
            "decode_responses": True,
            "encoding_errors": "replace",
            "protocol": 2,
            "socket_connect_timeout": timeout,
            "socket_timeout": timeout,
            "retry": redis.retry.Retry(redis.backoff.ConstantBackoff(0.2), 1),
        }
        with self._errors():
            if endpoint.url:
                # redis.Redis.from_url would have the URL go before the arguments.
                options = {**arguments, **redis.connection.parse_url(endpoint.url), **endpoint.arguments}
                self._client = redis.Redis(connection_pool=redis.ConnectionPool(**options))
            else:
                self._client = redis.Redis(**arguments, **endpoint.arguments)

    def touch(self, environments: t.Sequence[str], record_ttl: int) -> list[float]:
        """Write now, by the server's clock, as the last use. Returns that moment in unix seconds, for each environment."""
        answers = self._run(TOUCH, [([_last_access(name)], [record_ttl]) for name in environments])
        return [float(now) for now in answers]

    def read(self, environments: t.Sequence[str]) -> list[Record]:
        """Read the record of each environment."""
        answers = self._run(CHECK, [([_last_access(name)], []) for name in environments])
        return [
            Record(float(now), kind, value, life / 1000 if life >= 0 else None) for now, kind, value, life in answers
        ]

    def _run(self, script: str, calls: t.Sequence[tuple[list[str], list[t.Any]]]) -> list[t.Any]:
        """Run one script for many keys: one round trip, and a second one where the server does not know it yet."""
        digest = hashlib.sha1(script.encode()).hexdigest()
        with self._errors():
            try:
                return self._pipeline(digest, calls)
            except self._redis.exceptions.NoScriptError:
                self._client.script_load(script)
                return self._pipeline(digest, calls)

    def _pipeline(self, digest: str, calls: t.Sequence[tuple[list[str], list[t.Any]]]) -> list[t.Any]:
        pipeline = self._client.pipeline(transaction=False)
        for keys, arguments in calls:
            pipeline.evalsha(digest, len(keys), *keys, *arguments)
        return pipeline.execute()

    @contextlib.contextmanager
    def _errors(self) -> t.Iterator[None]:
        errors = self._redis.exceptions
        try:
            yield
        except errors.AuthenticationError as error:
            raise ActivityError(
                f"redis_password: Redis at {self._endpoint.name} refused the user or password. Check redis_password, "
                "redis_username, the ones in redis_url, and REDIS_PASSWORD."
            ) from error
        except (errors.ConnectionError, errors.TimeoutError, OSError) as error:
            raise ActivityError(
                f"redis_url: Redis at {self._endpoint.name} does not answer ({self._text(error)}). Check redis_url, or "
                "redis_host and redis_port, and that it runs and can be reached from here."
            ) from error
        except errors.RedisError as error:
            raise ActivityError(f"redis_url: Redis at {self._endpoint.name} refused: {self._text(error)}") from error
        except (TypeError, ValueError, AttributeError) as error:
            # The client's own words for a host, or an option in the URL, that it cannot use.
            raise ActivityError(
                f"redis_url: Redis at {self._endpoint.name} cannot be used as it is configured ({self._text(error)}). "
                "Check the host and the options in redis_url."
            ) from error

    def _text(self, error: Exception) -> str:
        """The words of an error without a secret: a server may repeat what it was sent."""
        return str(remove_values(str(error), self._endpoint.secrets))


def _last_access(environment: str) -> str:
    return f"hsm:{environment}:last_access"
