# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The stand-ins for `configure-cli` and `configure-pkcs11`: `python -m local_aws.cloudhsm_cli.configure cli|pkcs11`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from . import settings
from .control import Cluster, Control, ToolError

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_CLOUDHSM_V2", "AWS_ENDPOINT_URL")
CLI, PKCS11 = "cli", "pkcs11"


def main(arguments: list[str] | None = None) -> int:
    """Configure one tool and return the exit status."""
    tool, *rest = sys.argv[1:] if arguments is None else arguments
    parser = _parser(tool)
    options = parser.parse_args(rest)
    if not rest:
        parser.error("nothing to configure")
    if (options.region or options.endpoint) and not options.cluster_id:
        parser.error("--region and --endpoint go with --cluster-id")
    try:
        configured = settings.read(tool)
        _change(configured, options)
        settings.write(tool, configured)
        if tool == PKCS11 and (options.addresses or options.cluster_id):
            _point_at_token(configured)
    except ToolError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser(tool: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"configure-{tool}",
        description="Stands in for the tool of that name in CloudHSM's Client SDK 5.",
        epilog=f"With -a, the local AWS is at {' or '.join(ENDPOINT_VARIABLES)} of the environment.",
        allow_abbrev=False,
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-a", nargs="+", dest="addresses", metavar="IP", help="addresses of HSMs")
    where.add_argument("--cluster-id", help="cluster whose HSMs to look up")
    parser.add_argument("--region", help="Region of the cluster")
    parser.add_argument("--endpoint", help="URL of the local AWS")
    parser.add_argument(
        "--hsm-ca-cert", type=Path, metavar="FILE", help="certificate that the cluster was claimed with"
    )
    parser.add_argument(
        "--disable-key-availability-check", action="store_true", help="use keys that are on one HSM only"
    )
    return parser


def _change(configured: settings.Settings, options: argparse.Namespace) -> None:
    if options.addresses or options.cluster_id:
        configured.endpoint = _endpoint(options)
        configured.cluster_id, configured.region = options.cluster_id, options.region
        configured.addresses = options.addresses or _addresses(configured)
    if options.hsm_ca_cert:
        if not options.hsm_ca_cert.is_file():
            raise ToolError(f"There is no file {options.hsm_ca_cert}.")
        configured.hsm_ca_cert = str(options.hsm_ca_cert.absolute())
    if options.disable_key_availability_check:
        configured.key_availability_check = False


def _endpoint(options: argparse.Namespace) -> str:
    for given in (options.endpoint, *(os.environ.get(name) for name in ENDPOINT_VARIABLES)):
        if given:
            return given
    raise ToolError(f"Where is the local AWS? Set {' or '.join(ENDPOINT_VARIABLES)}.")


def _addresses(configured: settings.Settings) -> list[str]:
    hsms = Control(configured.endpoint).ask("GET", "clusters", str(configured.cluster_id), "hsms")["hsms"]
    here = [hsm["EniIp"] for hsm in hsms if hsm["AvailabilityZone"].startswith(configured.region or "")]
    if not here:
        where = f" in {configured.region}" if configured.region else ""
        raise ToolError(f"Cluster {configured.cluster_id} has no ACTIVE HSM{where}.")
    return here


def _point_at_token(configured: settings.Settings) -> None:
    token = Cluster(configured).ask("GET", "token")
    line = f"export SOFTHSM2_CONF={shlex.quote(token['conf'])}"
    comment = f"# {token['module']} stands in for /opt/cloudhsm/lib/libcloudhsm_pkcs11.so."
    (settings.home() / f"{PKCS11}.sh").write_text(f"{comment}\n{line}\n", encoding="utf-8")
    print(line)


if __name__ == "__main__":
    sys.exit(main())
