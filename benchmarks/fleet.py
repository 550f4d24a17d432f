# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What one run of reap_hsm costs for 1, 10, 100 and 1,000 environments, with none idle, and with one in a hundred.

Each size has a region of its own in a local AWS that creates and deletes at once, so that nothing is waited for but the
settling of marks. Runs of all sizes take turns; figures are medians of whole ansible-playbook processes.

Seconds are of runs that speak to Redis directly. Round trips are counted in a run of their own, through a proxy that answers
when the client has been quiet for a moment, so that a pipeline is one however many packets it takes.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import typing as t
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import redis
import yaml
from rich.console import Console
from sandbox.sandbox import CHECKOUT, Sandbox, forget_real_account

REGIONS = ("eu-west-2", "eu-west-3", "eu-central-1", "eu-north-1", "us-east-1")
SUBNETS = {"a": "10.42.0.0/20", "b": "10.42.16.0/20", "c": "10.42.32.0/20"}
SETTLE = 1
QUIET_SECONDS = 0.1


@dataclass(frozen=True)
class Case:
    """A fleet of so many environments, of which so many are idle."""

    size: int
    idle: int

    def __str__(self) -> str:
        return f"{self.size:,}, {self.idle or 'none'} idle"


@dataclass
class Cost:
    """What runs of one case cost."""

    seconds: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    round_trips: int = 0
    steps: int = 0
    calls: Counter[str] = field(default_factory=Counter)

    @property
    def median(self) -> float:
        """The median of the seconds that passed."""
        return statistics.median(self.seconds)

    @property
    def median_busy(self) -> float:
        """The median of the processor's seconds, of all processes of the run. They depend less on what else is running."""
        return statistics.median(self.busy)


class Fleet:
    """So many environments in one region, each a cluster with an HSM.

    Args:
        sandbox: The servers.
        size: How many.
        region: Where.
    """

    def __init__(self, sandbox: Sandbox, size: int, region: str) -> None:
        self._sandbox = sandbox
        self._region = region
        self._hsms = sandbox.aws.client("cloudhsmv2", region)
        self._store = redis.Redis.from_url(sandbox.redis_url, decode_responses=True)
        self.inventory = sandbox.folder / f"fleet-{size}.yml"
        ec2 = sandbox.aws.client("ec2", region)
        vpc = ec2.create_vpc(CidrBlock="10.42.0.0/16")["Vpc"]["VpcId"]
        self._subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=region + letter)["Subnet"]["SubnetId"]
            for letter, cidr in SUBNETS.items()
        ]
        # The local AWS serves one request at a time; two clients keep it busy.
        with ThreadPoolExecutor(2) as pool:
            clusters = list(pool.map(lambda _number: self._make_cluster(), range(size)))
        self.clusters = {f"team-{number:04}": cluster_id for number, cluster_id in enumerate(clusters, start=1)}
        self._write_inventory()

    def prepare(self, idle: int) -> None:
        """Have an HSM in every environment, and every one used a minute ago but the first so many."""
        parked = [
            cluster["ClusterId"]
            for page in self._hsms.get_paginator("describe_clusters").paginate()
            for cluster in page["Clusters"]
            if not cluster["Hsms"]
        ]
        for cluster_id in parked:
            self._hsms.create_hsm(ClusterId=cluster_id, AvailabilityZone=f"{self._region}a")
        now = t.cast("tuple[int, int]", self._store.time())[0]
        with self._store.pipeline(transaction=False) as pipeline:
            for number, name in enumerate(self.clusters):
                pipeline.set(f"hsm:{name}:last_access", now - (4000 if number < idle else 60), ex=7200)
            pipeline.execute()

    def _make_cluster(self) -> str:
        made = self._hsms.create_cluster(HsmType="hsm2m.medium", Mode="FIPS", SubnetIds=self._subnets)["Cluster"]
        self._sandbox.aws.activate(made["ClusterId"])
        return made["ClusterId"]

    def _write_inventory(self) -> None:
        shared = yaml.safe_load(self._sandbox.inventory.read_text(encoding="utf-8"))["all"]["vars"]
        hosts = {name: {"hsm_cluster_id": cluster_id} for name, cluster_id in self.clusters.items()}
        inventory = {"all": {"vars": {**shared, "hsm_region": self._region}, "hosts": hosts}}
        self.inventory.write_text(yaml.safe_dump(inventory, sort_keys=False), encoding="utf-8")


class RoundTrips:
    """A proxy in front of a Redis that counts the times that its client waits for an answer.

    Args:
        port: Port of the Redis.
    """

    def __init__(self, port: int) -> None:
        self.count = 0
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more clients."""
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._port)) as server:
            while asked := client.recv(1 << 20):
                answered = b""
                while asked is not None:
                    server.sendall(asked)
                    answered += _read(server, 0) or b""
                    asked = _read(client, QUIET_SECONDS)
                    if asked == b"":
                        return
                while (more := _read(server, QUIET_SECONDS)) is not None:
                    answered += more
                self.count += 1
                client.sendall(answered)


def _read(peer: socket.socket, seconds: float) -> bytes | None:
    """What comes within some seconds; None where nothing does."""
    ready = select.select([peer], [], [], seconds)[0]
    return peer.recv(1 << 20) if ready else None


def run(sandbox: Sandbox, fleet: Fleet, case: Case, cost: Cost, redis_url: str | None = None) -> tuple[float, float]:
    """Run the playbook once, and return its seconds, and those of the processor. What it asked for goes to the cost.

    Raises:
        SystemExit: The run failed, or did something else than it should.
    """
    store = redis.Redis.from_url(sandbox.redis_url, decode_responses=True)
    fleet.prepare(case.idle)
    store.config_resetstat()
    sandbox.aws.clear_calls()
    elsewhere = ["-e", f"hsm_redis_url={redis_url}"] if redis_url else []
    busy, begun = _busy(), time.perf_counter()
    process = subprocess.run(
        [
            Path(sys.executable).parent / "ansible-playbook", CHECKOUT / "playbooks/reap_hsm.yml", "-i", fleet.inventory,
            "-e", "env=all", "-e", f"hsm_reap_max={case.size}", "-e", f"hsm_settle={SETTLE}", "-e", "hsm_wait_delay=0.2",
            *elsewhere,
        ],
        cwd=CHECKOUT, env={**os.environ, **sandbox.variables, "ANSIBLE_INVENTORY": ""}, text=True, capture_output=True,
        check=False,
    )  # fmt: skip
    elapsed, busy = time.perf_counter() - begun, _busy() - busy
    deleted = len([call for call in sandbox.aws.calls("DeleteHsm") if call["outcome"] == "ok"])
    if process.returncode or deleted != case.idle:
        raise SystemExit(f"{case}: ended with {process.returncode}, deleted {deleted}\n{process.stdout[-3000:]}")
    steps = t.cast("dict[str, t.Any]", store.info("commandstats"))
    cost.steps = steps.get("cmdstat_evalsha", {}).get("calls", 0)
    cost.calls = Counter(call["operation"] for call in sandbox.aws.calls())
    return elapsed, busy


def _busy() -> float:
    """Seconds of the processor that children have used which have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(sizes: t.Sequence[int], rounds: int, console: Console) -> dict[Case, Cost]:
    """Measure all cases; the first run of each is not counted."""
    costs = {Case(size, idle): Cost() for size in sizes for idle in sorted({0, size // 100})}
    with tempfile.TemporaryDirectory() as folder, Sandbox(Path(folder), rate=1) as sandbox:
        sandbox.aws.set_knobs(
            quota_clusters=10_000, quota_hsms=10_000, backup_period_seconds=0,
            hsm_create_seconds=0, hsm_delete_seconds=0, backup_seconds=0,
        )  # fmt: skip
        begun = time.perf_counter()
        fleets = {size: Fleet(sandbox, size, region) for size, region in zip(sizes, REGIONS, strict=False)}
        console.print(f"laid out in {time.perf_counter() - begun:.0f} s", style="dim")
        port = int(sandbox.redis_url.rpartition(":")[2].split("/")[0])
        for case, cost in costs.items():
            run(sandbox, fleets[case.size], case, cost)
            proxy = RoundTrips(port)
            run(sandbox, fleets[case.size], case, cost, f"redis://127.0.0.1:{proxy.port}/0")
            proxy.close()
            cost.round_trips = proxy.count
        for _round, (case, cost) in itertools.product(range(rounds), costs.items()):
            seconds, busy = run(sandbox, fleets[case.size], case, cost)
            cost.seconds.append(seconds)
            cost.busy.append(busy)
            console.print(f"{case}: {seconds:.2f} s, {busy:.2f} s busy, load {os.getloadavg()[0]:.1f}", style="dim")
    return costs


def table(costs: dict[Case, Cost]) -> str:
    """Make a table in Markdown."""
    one = min(costs.items(), key=lambda item: (item[0].size, item[0].idle))[1]
    lines = [
        "| environments | idle | seconds | to one | busy seconds | to one | Redis: round trips | Redis: steps | AWS: calls |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---|",
    ]
    for case, cost in costs.items():
        calls = ", ".join(f"{count} {operation}" for operation, count in sorted(cost.calls.items()))
        lines.append(
            f"| {case.size:,} | {case.idle} | {cost.median:.2f} | {cost.median / one.median:.2f} "
            f"| {cost.median_busy:.2f} | {cost.median_busy / one.median_busy:.2f} "
            f"| {cost.round_trips} | {cost.steps:,} | {calls} |"
        )
    return "\n".join(lines)


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 64, 20, 44, 52
COLOURS = {"none idle": "#1f6feb", "1 in 100 idle": "#bf5700"}


def plot(costs: dict[Case, Cost]) -> str:
    """Draw the seconds over the number of environments, as SVG. The marks of one line are joined straight."""
    sizes = sorted({case.size for case in costs})
    lines = {
        "none idle": [(case.size, cost.median) for case, cost in costs.items() if not case.idle],
        "1 in 100 idle": [(case.size, cost.median) for case, cost in costs.items() if case.idle],
    }
    highest = max(cost.median for cost in costs.values()) * 1.1
    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 100, 200) if highest / step <= 8)

    def across(size: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * size / sizes[-1]

    def up(seconds: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * seconds / highest

    svg = _Drawing()
    svg.text(LEFT, 24, "Seconds of one run of reap_hsm, by the number of environments", size=15)
    for seconds in (step * number for number in range(int(highest / step) + 1)):
        svg.line(LEFT, up(seconds), WIDTH - RIGHT, up(seconds), "#d8dee4")
        svg.text(LEFT - 8, up(seconds) + 4, f"{seconds:g}", anchor="end")
    for size in range(0, sizes[-1] + 1, max(1, sizes[-1] // 5)):
        svg.text(across(size), HEIGHT - BOTTOM + 20, f"{size:,}", anchor="middle")
    svg.text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "environments", anchor="middle")
    for place, (name, points) in enumerate(lines.items()):
        for (size, seconds), (following, later) in itertools.pairwise(points):
            svg.line(across(size), up(seconds), across(following), up(later), COLOURS[name], width=2)
        for size, seconds in points:
            svg.circle(across(size), up(seconds), COLOURS[name], f"{size:,} environments, {name}: {seconds:.2f} s")
        svg.circle(LEFT + 16, TOP + 14 + 20 * place, COLOURS[name], name)
        svg.text(LEFT + 28, TOP + 18 + 20 * place, name)
    return svg.document()


class _Drawing:
    """An SVG on white."""

    def __init__(self) -> None:
        self._root = ElementTree.Element(
            "svg", xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {WIDTH} {HEIGHT}", width=str(WIDTH), height=str(HEIGHT)
        )  # fmt: skip
        self._add("rect", width=WIDTH, height=HEIGHT, fill="#ffffff")

    def line(self, x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> None:
        self._add("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width)

    def circle(self, x: float, y: float, colour: str, title: str) -> None:
        ElementTree.SubElement(self._add("circle", cx=x, cy=y, r=4, fill=colour), "title").text = title

    def text(self, x: float, y: float, text: str, anchor: str = "start", size: int = 12) -> None:
        placed = self._add(
            "text", x=x, y=y, text_anchor=anchor, font_family="sans-serif", font_size=size, fill="#24292f"
        )
        placed.text = text

    def document(self) -> str:
        ElementTree.indent(self._root)
        return ElementTree.tostring(self._root, encoding="unicode") + "\n"

    def _add(self, tag: str, **attributes: str | float) -> ElementTree.Element:
        plain = {
            name.replace("_", "-"): f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)
            for name, value in attributes.items()
        }
        return ElementTree.SubElement(self._root, tag, plain)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1, 10, 100, 1000], help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (default: %(default)s)")
    parser.add_argument("--plot", type=Path, help="an SVG to write")
    options = parser.parse_args()
    forget_real_account()
    console = Console(highlight=False, soft_wrap=True)
    costs = measure(sorted(options.sizes), options.rounds, console)
    console.print(f"\n{table(costs)}", markup=False)
    if options.plot:
        options.plot.parent.mkdir(parents=True, exist_ok=True)
        options.plot.write_text(plot(costs), encoding="utf-8")


if __name__ == "__main__":
    main()
