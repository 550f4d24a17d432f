# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The scenarios in which the real code is shown to keep the rules, and the schedules that once broke them."""

from __future__ import annotations

from .scenario import Scenario, job, reaper, writer

SCENARIOS = [
    Scenario(
        "a job meets a reaper",
        (reaper("r1"), job("j1")),
        kills=("r1", "j1"),
        flush=True,
        holds={"r1": (70, 1000), "j1": (70, 400)},
    ),
    Scenario(
        "a job that holds meets a reaper, and a script touches",
        (reaper("r1"), job("j1", "pipeline-1"), writer("w1")),
        kills=("r1",),
        flush=True,
        ends=True,
        aftermath=4000,
    ),
    Scenario(
        "a job meets two reapers",
        (reaper("r1"), reaper("r2"), job("j1")),
        starts={"r2": 190},
        kills=("r1", "r2"),
        flush=True,
        holds={"r1": (200, 1000), "r2": (100,)},
    ),
    Scenario(
        "two jobs meet two reapers",
        (reaper("r1"), job("j1"), reaper("r2"), job("j2", "pipeline-2")),
        kills=("r1", "j1"),
        flush=True,
        ends=True,
        holds={"r1": (200,)},
        aftermath=4000,
    ),
    Scenario(
        "two creators",
        (job("j1"), job("j2", "pipeline-2")),
        hsm=False,
        kills=("j1",),
        flush=True,
        holds={"j1": (70, 200, 1000), "j2": (200,)},
    ),
    Scenario(
        "a creator, a job and a reaper, an HSM on its way out",
        (reaper("r1"), job("j1"), job("j2")),
        starts={"j1": 6, "j2": 30},
        kills=("r1", "j1"),
        flush=True,
        holds={"r1": (200,), "j1": (200,)},
    ),
    Scenario(
        "AWS shows what it had before",
        (reaper("r1"), job("j1")),
        stale=True,
        flush=True,
        holds={"r1": (70,), "j1": (4,)},
    ),
    Scenario("creators are shown what AWS had before", (job("j1"), job("j2")), hsm=False, stale=True, flush=True),
    Scenario(
        "AWS replaces the HSM",
        (reaper("r1"), job("j1")),
        replace=True,
        flush=True,
        kills=("r1",),
        holds={"r1": (70, 400)},
    ),
    Scenario(
        "requests of a reaper are lost, held up and throttled",
        (reaper("r1"), job("j1")),
        wire=frozenset({"lost", "held", "throttled"}),
        kills=("r1",),
        holds={"r1": (70, 310), "j1": (200,)},
    ),
    Scenario(
        "requests of creators are lost, held up and throttled",
        (job("j1"), job("j2")),
        hsm=False,
        wire=frozenset({"lost", "held", "throttled"}),
        flush=True,
        holds={"j1": (200,)},
    ),
    Scenario(
        "Redis does not answer",
        (reaper("r1"), job("j1"), job("j2")),
        redis_faults=True,
        flush=True,
        holds={"r1": (200,), "j1": (200,)},
    ),
    Scenario(
        "clocks of runners are wrong",
        (reaper("r1"), job("j1"), job("j2")),
        skew={"r1": -240, "j1": 50, "j2": -200},
        kills=("r1", "j1"),
        holds={"r1": (200, 310), "j1": (310,)},
    ),
    Scenario(
        "nobody knows when it was used last",
        (job("j1"), reaper("r1"), reaper("r2")),
        record_age=None,
        starts={"r1": 100, "r2": 1950},
        flush=True,
        ends=True,
        kills=("r1", "r2"),
        aftermath=4000,
    ),
    Scenario(
        "Redis comes back with an old copy",
        (reaper("r1"), job("j1", "pipeline-1")),
        rollback=True,
        holds={"r1": (70,), "j1": (70,)},
        ends=True,
        kills=("r1", "j1"),
        aftermath=4000,
    ),
    Scenario(
        "another Redis takes over",
        (reaper("r1"), job("j1", "pipeline-1"), job("j2", "pipeline-2")),
        failover=True,
        holds={"r1": (70,), "j1": (70,)},
        ends=True,
        kills=("r1", "j1"),
        aftermath=4000,
    ),
    Scenario(
        "a job that needs two HSMs meets a reaper",
        (reaper("r1"), job("j1")),
        count=2,
        flush=True,
        replace=True,
        kills=("r1", "j1"),
        holds={"r1": (70, 1000), "j1": (70, 400)},
    ),
    Scenario(
        "two creators of two HSMs",
        (job("j1"), job("j2", "pipeline-2")),
        count=2,
        hsm=False,
        flush=True,
        kills=("j1",),
        holds={"j1": (70, 200, 1000), "j2": (200,)},
    ),
]

# A request that was held up is repeated, and the repeated one is throttled: the first may still arrive.
# Its schedule is given by the moves that are not the ordinary ones.
THROTTLED_MOVES = (
    "DeleteHsm arrives (it is held up, and the client gives it up)",
    "DeleteHsm arrives (throttled from now on)",
    "j1: DescribeClusters",
    "DeleteHsm of r1, which nobody waits for, arrives",
)
THROTTLED = Scenario(
    "throttled after it was held up",
    (reaper("r1"), job("j1")),
    rules=frozenset("a"),
    starts={"j1": 20},
    wire=frozenset({"held DeleteHsm", "throttled DeleteHsm"}),
)
# A creator takes its mark off, and that request is held up and repeated; when it arrives, the creator has marked again.
REMARKED_MOVES = (
    "UntagResource arrives (it is held up, and the client gives it up)",
    "j1: CreateHsm is signed",
    "j1 is held up for 20 s",
    "Redis loses everything",
    "UntagResource of j1, which nobody waits for, arrives",
)
REMARKED = Scenario(
    "marked again",
    (job("j1"), job("j2")),
    rules=frozenset("b"),
    hsm=False,
    starts={"j2": 136},
    marks=(("hsmops:creating/of-a-dead-one", "3999999110"),),
    flush=True,
    wire=frozenset({"held UntagResource"}),
    holds={"j1": (20,)},
)
