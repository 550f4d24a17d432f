# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What the configure tools leave for the others: a JSON file for each of them."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Settings:
    """What one tool is configured with.

    Attributes:
        endpoint: URL of the local AWS.
        addresses: Addresses of HSMs to try.
        cluster_id: The cluster, if it was named.
        region: Its Region, if it was named.
        hsm_ca_cert: File with the certificate that the cluster was initialized with.
        key_availability_check: Whether a key must be on two HSMs to be used. Nothing here looks at it.
    """

    endpoint: str = ""
    addresses: list[str] = field(default_factory=list)
    cluster_id: str | None = None
    region: str | None = None
    hsm_ca_cert: str | None = None
    key_availability_check: bool = True


def home() -> Path:
    """Return the folder of the settings."""
    given = os.environ.get("CLOUDHSM_LOCAL_HOME")
    return (
        Path(given) if given else Path(os.environ.get("XDG_CONFIG_HOME") or "~/.config").expanduser() / "cloudhsm-local"
    )


def read(tool: str) -> Settings:
    """Return the settings of a tool, the default ones when it was never configured."""
    path = home() / f"{tool}.json"
    return Settings(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else Settings()


def write(tool: str, settings: Settings) -> None:
    """Keep the settings of a tool."""
    home().mkdir(parents=True, exist_ok=True)
    (home() / f"{tool}.json").write_text(json.dumps(asdict(settings), indent=2) + "\n", encoding="utf-8")
