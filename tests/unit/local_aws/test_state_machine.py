# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Everything that can be done to the service, in any order, and what holds throughout.

STATE_MACHINE_EXAMPLES=1000 makes it a long run.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import math
import os
from typing import Any
from unittest import mock

from harness import laws
from harness.answers import declared_errors, problems
from harness.claims import sign
from harness.laws import LAWS, Done, counts, present
from harness.world import QUICK_RSA, START, Place, Seen, World
from hypothesis import HealthCheck, event, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from local_aws.cloudhsm import certificates
from local_aws.cloudhsm.errors import CloudHsmError
from local_aws.cloudhsm.service import DroppedAnswerError
from local_aws.faults import HOLDS, REQUEST_KINDS

EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "40"))
STEPS = int(os.environ.get("STATE_MACHINE_STEPS", "50"))

HOME, ABROAD, STRANGER = PLACES = (
    Place("123456789012", "eu-west-1"),
    Place("123456789012", "us-east-1"),
    Place("210987654321", "eu-west-1"),
)
MODEL_PLACES = st.sampled_from((HOME, HOME, HOME, ABROAD, STRANGER))
WHICH = st.integers(0, 11)
SECONDS = st.sampled_from((1, 30, 60, 120, 300, 600, 3600, 86_400, 8 * 86_400, 31 * 86_400, 100 * 86_400))
DAYS = st.sampled_from(("7", "30", "90", "379"))
TAGS = st.dictionaries(
    st.sampled_from(("Name", "owner", "Größe", "a b")), st.sampled_from(("", "1", "x=y")), max_size=3
)
AFTER = ("error_after", "drop_answer")
# Holds would wait for a clock that nobody puts forward meanwhile.
FAULTS = st.sampled_from([kind for kind in REQUEST_KINDS if kind not in HOLDS])
CONDITIONS = st.sampled_from(
    ("no_capacity", "degraded_hsm", "busy_address", "no_backup", "stuck_backup", "failed_copy")
)
CHANGING = (
    "CopyBackupToRegion",
    "CreateCluster",
    "CreateHsm",
    "DeleteBackup",
    "DeleteCluster",
    "DeleteHsm",
    "InitializeCluster",
    "ModifyBackupAttributes",
    "ModifyCluster",
    "RestoreBackup",
    "TagResource",
    "UntagResource",
)
KNOBS = st.fixed_dictionaries(
    {
        "quota_clusters": st.sampled_from((2, 4)),
        "quota_hsms": st.sampled_from((3, 6)),
        "quota_hsms_per_cluster": st.sampled_from((2, 28)),
        "quota_counts_leaving": st.booleans(),
        "eni_release_seconds": st.sampled_from((0.0, 0.0, 400.0)),
        "deleted_hsm_listed_seconds": st.sampled_from((0.0, 90.0)),
        "backup_period_seconds": st.sampled_from((0.0, 86_520.0)),
        "hsm1_medium_accepted": st.booleans(),
        "delete_hsm_again_accepted": st.booleans(),
        "backup_on_add_to_empty_cluster": st.booleans(),
        "backup_of_unusable_hsm": st.booleans(),
        "backup_of_initialized_cluster": st.booleans(),
        "backup_begins_when_hsm_gone": st.booleans(),
        "deleted_cluster_backups_expire": st.booleans(),
        "copied_backup_shows_cluster": st.booleans(),
        "policy_shares_are_promoted": st.booleans(),
        "restore_chosen_at_creation": st.booleans(),
        "restore_without_backup": st.sampled_from(("empty", "degraded", "refused")),
        "cluster_updates_with_hsms": st.booleans(),
        "pre_co_password_shown": st.booleans(),
        "create_hsm_shows_network": st.booleans(),
        "unknown_filter_accepted": st.booleans(),
    }
)
# Told as they are now, however late DescribeClusters is.
WITHOUT_HISTORY = ("HsmType", "BackupRetentionPolicy", "HsmTypeRollbackExpiration", "PreCoPassword")
LOST: dict[str, Any] = {}
Users = list[tuple[str, str, bool]]


class AnythingGoes(RuleBasedStateMachine):
    """Does anything to a service, and checks after each step what must be true of what it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None
        self.done = Done()
        # What the HSMs of a cluster and the backups hold; what is unknown is missing.
        self.inside: dict[str, Users] = {}
        self.kept: dict[str, Users | None] = {}
        self.chosen: dict[str, list[dict[str, Any]]] = {}
        # The backups that are to begin when an HSM is gone: cluster, moment and what they will hold.
        self.planned: list[tuple[str, float, Users | None]] = []
        self.busy_until: dict[tuple[str, str], tuple[float, str]] = {}
        self.was_active: set[str] = set()
        self.spared: set[str] = set()
        self.owners: dict[str, Any] = {}
        self.past: dict[float, Seen] = {}
        self.claims: dict[str, str] = {}

    @initialize(knobs=KNOBS, start=st.sampled_from(("nothing", "a cluster", "INITIALIZED", "ACTIVE", "parked")))
    def begin(self, knobs: dict[str, Any], start: str) -> None:
        self.world = World(PLACES, knobs)
        self.seen = self.look()
        self.knobs = self.world.service.knobs
        if start != "nothing":
            self.make_cluster(HOME, 0, 3, {})
            self.observe()
        if start in ("ACTIVE", "INITIALIZED", "parked"):
            self.bring_up(0, 1, start)
        if start in ("INITIALIZED", "parked"):
            self.park(0, 600)

    def teardown(self) -> None:
        if self.world:
            self.histories_follow_the_arrows()
            self.world.close()

    # What there is.

    @property
    def clusters(self) -> list[tuple[Place, dict[str, Any]]]:
        return self.seen.all_clusters

    @property
    def hsms(self) -> list[tuple[Place, dict[str, Any], dict[str, Any]]]:
        return [(place, cluster, hsm) for place, cluster in self.clusters for hsm in cluster["Hsms"]]

    def look(self) -> Seen:
        return Seen(
            self.world.clock.now(),
            {place: {c["ClusterId"]: c for c in self.pages(place, "DescribeClusters")} for place in PLACES},
            {place: {b["BackupId"]: b for b in self.pages(place, "DescribeBackups")} for place in PLACES},
        )

    def pages(self, place: Place, operation: str, **parameters: Any) -> list[dict[str, Any]]:
        """Return what all pages show, and check that they show each thing once."""
        member = {"DescribeClusters": "Clusters", "DescribeBackups": "Backups", "ListTags": "TagList"}[operation]
        key = {"Clusters": "ClusterId", "Backups": "BackupId", "TagList": "Key"}[member]
        found: list[dict[str, Any]] = []
        token: dict[str, str] = {}
        while True:
            answer = self.world.call(place, operation, **parameters, **token)
            assert problems(operation, answer) == []
            page = answer[member]
            assert len(page) <= parameters.get("MaxResults", 100)
            found += page
            if "NextToken" not in answer:
                break
            assert page, "a page with nothing on it is not the last"
            token = {"NextToken": answer["NextToken"]}
        assert len({item[key] for item in found}) == len(found)
        return found

    # Asking, and being refused.

    def waiting(self, kind: str) -> bool:
        return any(fault["kind"] == kind for fault in self.world.service.faults.waiting())

    def ask(self, place: Place, operation: str, expected: bool | None, **parameters: Any) -> dict[str, Any] | None:
        """Send a request and return the answer, `LOST` if it got lost on its way back, None when it was refused.

        Args:
            place: From where.
            operation: Which.
            expected: Whether the request is fine; None when that cannot be told.
            parameters: Of the request.
        """
        waiting = self.world.service.faults.waiting()
        fault = next((f["kind"] for f in waiting if f["kind"] in REQUEST_KINDS and f["operation"] == operation), None)
        if expected is None and fault:
            self.world.service.faults.clear()
            fault = None
        refusal, answer = None, None
        try:
            answer = self.world.call(place, operation, **parameters)
        except CloudHsmError as error:
            refusal = error
        except DroppedAnswerError:
            assert fault == "drop_answer"
        if fault:
            assert answer is None, f"{operation} answered in spite of {fault}"
            if fault in AFTER and expected:
                return LOST
        else:
            assert expected in (None, refusal is None), f"{operation} {parameters}: {refusal or answer}"
            assert refusal is None or refusal.code in declared_errors(operation), refusal
            assert refusal or problems(operation, answer) == []
        self.done.refused = answer is None
        return answer

    def is_active(self, cluster: dict[str, Any]) -> bool:
        """True for a cluster that works; while HSMs come and go it may show another state (a knob)."""
        return cluster["State"] in ("ACTIVE", "UPDATE_IN_PROGRESS")

    # Clusters.

    @precondition(lambda self: self.world)
    @rule(
        place=MODEL_PLACES, vpc=st.integers(0, 1), zones=st.integers(1, 3), days=st.none() | DAYS, tags=TAGS, hsm1=WHICH
    )
    def create_cluster(
        self, place: Place, vpc: int, zones: int, days: str | None, tags: dict[str, str], hsm1: int
    ) -> None:
        self.make_cluster(place, vpc, zones, tags, {"Value": days, "Type": "DAYS"} if days else None, hsm1 == 0)

    def make_cluster(
        self,
        place: Place,
        vpc: int,
        zones: int,
        tags: dict[str, str],
        policy: dict[str, str] | None = None,
        hsm1: bool = False,
        source: dict[str, Any] | None = None,
        fits: bool = True,
        by_arn: bool = False,
    ) -> str | None:
        network = self.world.networks[place]
        subnets = [subnet.subnet_id for subnet in network.subnets.values() if subnet.vpc_id == network.vpcs[vpc]][
            :zones
        ]
        tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
        parameters: dict[str, Any] = {"SubnetIds": subnets, "HsmType": "hsm1.medium" if hsm1 else "hsm2m.medium"}
        parameters |= {"Mode": "FIPS"} if not hsm1 else {}
        parameters |= {"TagList": tag_list} if tag_list else {}
        parameters |= {"BackupRetentionPolicy": policy} if policy else {}
        if source:
            parameters["SourceBackupId"] = source["BackupArn" if by_arn else "BackupId"]
        used = [view for view in self.seen.clusters[place].values() if counts(view["State"], self.knobs)]
        expected = fits and len(used) < self.knobs.quota_clusters and (self.knobs.hsm1_medium_accepted or not hsm1)
        before = set(self.seen.clusters[place])
        answer = self.ask(place, "CreateCluster", expected, **parameters)
        if answer is None:
            return None
        [made] = set(self.look().clusters[place]) - before
        self.done.tagged[made] = tag_list
        if source:
            self.was_active.add(made)
            if source["BackupId"] in self.kept:
                self.kept[made] = self.kept[source["BackupId"]]
        if answer is not LOST:
            view = answer["Cluster"]
            assert (view["ClusterId"], view["State"], view["Hsms"]) == (made, "CREATE_IN_PROGRESS", [])
            assert view["BackupRetentionPolicy"] == (policy or {"Type": "DAYS", "Value": "90"})
            assert list(view["SubnetMapping"].values()) == subnets
        return made

    @precondition(lambda self: self.seen.all_backups)
    @rule(place=MODEL_PLACES, which=WHICH, by_arn=st.booleans())
    def create_cluster_from_backup(self, place: Place, which: int, by_arn: bool) -> None:
        owner, backup = self.seen.all_backups[-1 - which % len(self.seen.all_backups)]
        # Backups are named without their account only at home; whether another account's is shared, the policies tell.
        near = owner == place or (by_arn and owner.region == place.region and self.shares(owner, backup, place))
        self.make_cluster(place, 0, 3, {}, source=backup, fits=near and backup["BackupState"] == "READY", by_arn=by_arn)

    def shares(self, owner: Place, backup: dict[str, Any], place: Place) -> bool:
        policy = self.world.call(owner, "GetResourcePolicy", ResourceArn=backup["BackupArn"])["Policy"]
        return place.account in policy

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH)
    def delete_cluster(self, which: int) -> None:
        place, cluster = self.clusters[which % len(self.clusters)]
        deletable = cluster["State"] in ("UNINITIALIZED", "INITIALIZED", "ACTIVE", "DEGRADED") and not present(cluster)
        answer = self.ask(place, "DeleteCluster", deletable, ClusterId=cluster["ClusterId"])
        if answer:
            assert answer["Cluster"]["State"] == "DELETE_IN_PROGRESS"
            assert "TagList" not in answer["Cluster"]

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH, good=st.booleans(), chain=st.booleans())
    def initialize_cluster(self, which: int, good: bool, chain: bool) -> None:
        self.claim(*self.clusters[which % len(self.clusters)], good, chain)

    def claim(self, place: Place, cluster: dict[str, Any], good: bool = True, chain: bool = False) -> None:
        csr = cluster["Certificates"].get("ClusterCsr")
        signed, anchor = sign(csr if good else None, chain)
        expected = cluster["State"] == "UNINITIALIZED" and csr is not None and good
        answer = self.ask(
            place, "InitializeCluster", expected, ClusterId=cluster["ClusterId"], SignedCert=signed, TrustAnchor=anchor
        )
        if answer is not None:
            self.claims[cluster["ClusterId"]] = signed
        if answer:
            assert answer["State"] == "INITIALIZE_IN_PROGRESS"

    @precondition(lambda self: self.inside)
    @rule(which=WHICH)
    def activate(self, which: int) -> None:
        cluster_id = list(self.inside)[which % len(self.inside)]
        fresh = ("admin", "unactivated-admin", False) in self.inside[cluster_id]
        ready = self.seen.cluster(cluster_id)["State"] in ("INITIALIZED", "ACTIVE") and fresh
        status, _answer = self.world.control("POST", f"clusters/{cluster_id}/activate", password="Password1")
        # A cluster that shows UPDATE_IN_PROGRESS is ACTIVE within.
        assert status == (200 if ready else 409) or self.seen.cluster(cluster_id)["State"] == "UPDATE_IN_PROGRESS"
        if status == 200:
            self.inside[cluster_id] = self.users(cluster_id)
            assert ("admin", "admin", False) in self.inside[cluster_id]

    @precondition(lambda self: self.inside)
    @rule(which=WHICH, number=st.integers(0, 5))
    def create_user(self, which: int, number: int) -> None:
        cluster_id = list(self.inside)[which % len(self.inside)]
        user = {"name": f"user{number}", "role": "crypto-user", "password": "Password1"}
        status, _answer = self.world.control("POST", f"clusters/{cluster_id}/users", **user)
        if status == 200:
            self.inside[cluster_id].append((f"user{number}", "crypto-user", False))

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH, days=DAYS | st.just("6"))
    def modify_retention(self, which: int, days: str) -> None:
        place, cluster = self.clusters[which % len(self.clusters)]
        fine = days != "6" and cluster["State"] not in ("DELETE_IN_PROGRESS", "DELETED")
        policy = {"Type": "DAYS", "Value": days}
        if (
            self.ask(place, "ModifyCluster", fine, ClusterId=cluster["ClusterId"], BackupRetentionPolicy=policy)
            is not None
        ):
            now = self.look().cluster(cluster["ClusterId"])
            assert now == cluster | {"BackupRetentionPolicy": policy}

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH, back=st.booleans())
    def migrate(self, which: int, back: bool) -> None:
        place, cluster = self.clusters[which % len(self.clusters)]
        wanted = "hsm1.medium" if back else "hsm2m.medium"
        may_go_back = self.seen.now < cluster.get("HsmTypeRollbackExpiration", 0)
        fine = self.is_active(cluster) and cluster["HsmType"] != wanted and (not back or may_go_back)
        answer = self.ask(place, "ModifyCluster", fine, ClusterId=cluster["ClusterId"], HsmType=wanted)
        if answer:
            assert ("HsmTypeRollbackExpiration" in answer["Cluster"]) != back
            assert {hsm["HsmType"] for hsm in present(answer["Cluster"])} <= {wanted}

    # HSMs.

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH, zone=st.sampled_from("aaabbcd"), wish=st.sampled_from(("any", "again", "free", "taken", "odd")))
    def create_hsm(self, which: int, zone: str, wish: str) -> None:
        place, cluster = self.clusters[which % len(self.clusters)]
        self.add_hsm(place, cluster, place.region + zone, wish)

    def add_hsm(self, place: Place, cluster: dict[str, Any], az: str, wish: str = "any") -> None:
        subnet = self.world.networks[place].subnets.get(cluster["SubnetMapping"].get(az, ""))
        address, address_fine = self.wish(subnet, wish) if subnet else (None, False)
        expected = address_fine and self.has_room(place, cluster)
        if self.waiting("no_capacity") or (address and self.waiting("busy_address")):
            expected = False
        contents = self.has_contents(cluster)
        parameters = {"ClusterId": cluster["ClusterId"], "AvailabilityZone": az} | (
            {"IpAddress": address} if address else {}
        )
        before = {hsm["EniId"] for hsm in cluster["Hsms"]}
        answer = self.ask(place, "CreateHsm", expected and contents, **parameters)
        if answer is None:
            return
        [made] = [hsm for hsm in self.look().cluster(cluster["ClusterId"])["Hsms"] if hsm["EniId"] not in before]
        self.chosen[made["EniId"]] = self.newest(self.seen, cluster["ClusterId"])
        assert (made["State"], made["AvailabilityZone"]) == ("CREATE_IN_PROGRESS", az)
        assert address in (None, made["EniIp"])
        assert ("EniId" in answer.get("Hsm", {})) == (self.knobs.create_hsm_shows_network and answer is not LOST)
        # By CreateHsm's own words the HSM's address is within the subnet; the ledger says that it was free.
        assert self.busy_until.get((made["SubnetId"], made["EniIp"]), (0, ""))[0] <= self.seen.now
        assert ipaddress.ip_address(made["EniIp"]) in ipaddress.ip_network(subnet.cidr)

    def has_room(self, place: Place, cluster: dict[str, Any]) -> bool:
        state = "ACTIVE" if self.is_active(cluster) else cluster["State"]
        if state not in ("UNINITIALIZED", "ACTIVE", "DEGRADED") or (state == "UNINITIALIZED" and present(cluster)):
            return False
        counted = {
            view["ClusterId"]: len([hsm for hsm in present(view) if counts(hsm["State"], self.knobs)])
            for view in self.seen.clusters[place].values()
        }
        full = counted[cluster["ClusterId"]] >= self.knobs.quota_hsms_per_cluster
        return sum(counted.values()) < self.knobs.quota_hsms and not full

    def has_contents(self, cluster: dict[str, Any]) -> bool | None:
        """True unless the knob says that a parked cluster without a backup gets no HSM; None when that is not clear."""
        name = cluster["ClusterId"]
        if self.knobs.restore_without_backup != "refused" or name not in self.was_active or name in self.inside:
            return True
        source = self.source(self.newest(self.seen, name), name)
        return None if source == "unclear" else source != "none"

    def wish(self, subnet: Any, wish: str) -> tuple[str | None, bool]:
        """Return an address to ask for, and whether it can be had."""
        network = ipaddress.ip_network(subnet.cidr)
        busy = {
            hsm["EniIp"]
            for _p, _c, hsm in self.hsms
            if hsm["SubnetId"] == subnet.subnet_id and hsm["State"] != "DELETED"
        }
        held = {
            ip
            for (where, ip), (until, _c) in self.busy_until.items()
            if (where, until > self.seen.now) == (subnet.subnet_id, True)
        }
        taken = sorted(busy | held)
        if wish == "taken" and taken:
            return taken[0], False
        if wish == "again" and held:
            return min(held), False
        past = sorted(ip for where, ip in self.busy_until if where == subnet.subnet_id and ip not in taken)
        if wish == "again" and past:
            return past[0], True
        if wish == "free":
            return next((str(network[n]), True) for n in range(14, 3, -1) if str(network[n]) not in taken)
        if wish == "odd":
            return str(network[3]), False
        return None, True

    @precondition(lambda self: self.hsms)
    @rule(which=WHICH, selector=st.sampled_from(("HsmId", "EniId", "EniIp", "two", "none")))
    def delete_hsm(self, which: int, selector: str) -> None:
        self.remove_hsm(*self.hsms[which % len(self.hsms)], selector)

    def remove_hsm(self, place: Place, cluster: dict[str, Any], hsm: dict[str, Any], selector: str = "HsmId") -> None:
        names = {"two": ("HsmId", "EniId"), "none": ()}.get(selector, (selector,))
        again = hsm["State"] == "DELETE_IN_PROGRESS" and self.knobs.delete_hsm_again_accepted
        there = hsm["State"] in ("CREATE_IN_PROGRESS", "ACTIVE", "DEGRADED") or again
        fine = there and len(names) == 1 and cluster["State"] not in ("MODIFY_IN_PROGRESS", "ROLLBACK_IN_PROGRESS")
        if selector == "EniIp" and not there:
            # Another HSM may have taken over the address of one that is listed as DELETED.
            fine = any(h["EniIp"] == hsm["EniIp"] and h is not hsm for h in present(cluster)) and None
            if fine is None:
                return
        no_backup = self.waiting("no_backup")
        answer = self.ask(
            place, "DeleteHsm", fine, ClusterId=cluster["ClusterId"], **{name: hsm[name] for name in names}
        )
        if answer:
            assert answer == {"HsmId": hsm["HsmId"]}
        if answer is None or again:
            return
        name = cluster["ClusterId"]
        release = self.seen.now + self.knobs.hsm_delete_seconds + self.knobs.eni_release_seconds
        self.busy_until[hsm["SubnetId"], hsm["EniIp"]] = release, name
        backed_up = self.is_active(cluster) or (
            cluster["State"] == "INITIALIZED" and self.knobs.backup_of_initialized_cluster
        )
        usable = hsm["State"] == "ACTIVE" or self.knobs.backup_of_unusable_hsm
        if backed_up and usable and not no_backup:
            if self.knobs.backup_begins_when_hsm_gone:
                self.planned.append((name, self.seen.now + self.knobs.hsm_delete_seconds, self.inside.get(name)))
            else:
                self.done.removed[name] = self.inside.get(name)
        self.lose(cluster, hsm)

    def lose(self, cluster: dict[str, Any], hsm: dict[str, Any]) -> None:
        """Note that an HSM serves no more."""
        left = [other for other in cluster["Hsms"] if other["State"] == "ACTIVE" and other["EniId"] != hsm["EniId"]]
        if not left:
            self.done.emptied.add(cluster["ClusterId"])

    @precondition(lambda self: self.hsms)
    @rule(which=WHICH, seconds=st.sampled_from((0, 200)))
    def replace(self, which: int, seconds: int) -> None:
        _place, cluster, hsm = self.hsms[which % len(self.hsms)]
        status, _answer = self.world.control("POST", f"hsms/{hsm['HsmId']}/replace", seconds=seconds)
        assert status == (404 if hsm["State"] in ("DELETE_IN_PROGRESS", "DELETED") else 200)
        if status == 200:
            self.done.replaced.add(hsm["EniId"])
            self.chosen.pop(hsm["EniId"], None)
            self.lose(cluster, hsm)

    @precondition(lambda self: self.hsms)
    @rule(which=WHICH)
    def degrade(self, which: int) -> None:
        _place, cluster, hsm = self.hsms[which % len(self.hsms)]
        status, _answer = self.world.control("POST", f"hsms/{hsm['HsmId']}/degrade")
        if status == 200:
            self.lose(cluster, hsm)

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH, users=st.integers(0, 2), state=st.sampled_from(("ACTIVE", "ACTIVE", "INITIALIZED")))
    def bring_up(self, which: int, users: int, state: str) -> None:
        """Lead a cluster to where it is ACTIVE with an ACTIVE HSM, or not quite there, as its owner would."""
        self.world.service.faults.clear()
        place, cluster = self.clusters[which % len(self.clusters)]
        self.raise_cluster(place, cluster["ClusterId"], state)
        for number in range(users if cluster["ClusterId"] in self.inside else 0):
            self.create_user(list(self.inside).index(cluster["ClusterId"]), number)

    def raise_cluster(self, place: Place, cluster_id: str, state: str = "ACTIVE") -> None:
        for _step in range(12):
            cluster = self.seen.clusters[place].get(cluster_id)
            states = [hsm["State"] for hsm in cluster["Hsms"]] if cluster else []
            if not cluster or cluster["State"] in ("DELETE_IN_PROGRESS", "DELETED") or "DEGRADED" in states:
                return
            if "IN_PROGRESS" in " ".join([cluster["State"], *states]):
                self.advance(1800)
            elif not states:
                self.add_hsm(place, cluster, next(iter(cluster["SubnetMapping"])), "again")
                if self.done.refused:
                    return
            elif cluster["State"] == "UNINITIALIZED":
                self.claim(place, cluster)
            elif cluster["State"] == "INITIALIZED" != state and cluster_id in self.inside:
                self.activate(list(self.inside).index(cluster_id))
                self.advance(80)
            else:
                return
            self.observe()

    @precondition(lambda self: self.inside)
    @rule(which=WHICH, wait=st.sampled_from((30, 60, 200, 600)))
    def park(self, which: int, wait: int) -> None:
        """Remove every HSM of a cluster, wait and bring it up again."""
        if self.inside:
            name = list(self.inside)[which % len(self.inside)]
            place = next(place for place, cluster in self.clusters if cluster["ClusterId"] == name)
            self.empty(place, name, wait)
            self.raise_cluster(place, name)

    def empty(self, place: Place, name: str, wait: int) -> None:
        self.world.service.faults.clear()
        for hsm in present(self.seen.cluster(name)):
            if hsm["State"] != "DELETE_IN_PROGRESS":
                self.remove_hsm(place, self.seen.cluster(name), hsm)
                self.observe()
        self.advance(wait)
        self.observe()

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH, wait=st.sampled_from((60, 200, 600)))
    def retire(self, which: int, wait: int) -> None:
        """Remove every HSM of a cluster and then the cluster."""
        place, cluster = self.clusters[which % len(self.clusters)]
        self.empty(place, cluster["ClusterId"], wait)
        if cluster["ClusterId"] in self.seen.clusters[place]:
            self.delete_cluster([view["ClusterId"] for _place, view in self.clusters].index(cluster["ClusterId"]))
            self.observe()
            self.advance(wait)

    # Backups.

    @precondition(lambda self: self.seen.all_backups)
    @rule(which=WHICH, never=st.booleans())
    def modify_backup(self, which: int, never: bool) -> None:
        place, backup = self.backup(which)
        ready = backup["BackupState"] == "READY"
        self.done.exempted.add(backup["BackupId"])
        answer = self.ask(place, "ModifyBackupAttributes", ready, BackupId=backup["BackupId"], NeverExpires=never)
        assert not answer or answer["Backup"]["NeverExpires"] is never

    @precondition(lambda self: self.seen.all_backups)
    @rule(which=WHICH)
    def delete_backup(self, which: int) -> None:
        place, backup = self.backup(which)
        self.done.deleted.add(backup["BackupId"])
        ready = backup["BackupState"] == "READY"
        answer = self.ask(place, "DeleteBackup", ready, BackupId=backup["BackupId"])
        assert not answer or answer["Backup"]["BackupState"] == "PENDING_DELETION"

    @precondition(lambda self: self.seen.all_backups)
    @rule(which=WHICH)
    def restore_backup(self, which: int) -> None:
        pending = [entry for entry in self.seen.all_backups if entry[1]["BackupState"] == "PENDING_DELETION"]
        place, backup = pending[which % len(pending)] if pending else self.backup(which)
        self.done.restored.add(backup["BackupId"])
        self.spared.add(backup.get("ClusterId", ""))
        answer = self.ask(place, "RestoreBackup", bool(pending), BackupId=backup["BackupId"])
        if answer:
            assert answer["Backup"]["BackupState"] == "READY"
            assert "DeleteTimestamp" not in answer["Backup"]

    @precondition(lambda self: self.seen.all_backups)
    @rule(which=WHICH, region=st.sampled_from(("eu-west-1", "us-east-1")), tags=TAGS, back=st.booleans())
    def copy_backup(self, which: int, region: str, tags: dict[str, str], back: bool) -> None:
        """Copy a backup, and the copy back to where the backup is."""
        place, backup = self.backup(which)
        name = self.copy(place, backup, region, tags)
        if name and back:
            self.observe()
            self.advance(600)
            self.observe()
            there = Place(place.account, region)
            self.copy(there, self.seen.backups[there][name], place.region, {})

    def copy(self, place: Place, backup: dict[str, Any], region: str, tags: dict[str, str]) -> str | None:
        there = Place(place.account, region)
        fine = backup["BackupState"] == "READY" and region != place.region and there in PLACES
        tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
        more = {"TagList": tag_list} if tag_list else {}
        if there not in PLACES:
            return None
        answer = self.ask(
            place, "CopyBackupToRegion", fine, BackupId=backup["BackupId"], DestinationRegion=region, **more
        )
        if answer is None:
            return None
        [made] = [name for name in self.look().backups[there] if name not in self.seen.backups[there]]
        self.done.tagged[made] = tag_list or backup["TagList"]
        if answer:
            assert answer["DestinationBackup"]["SourceBackup"] == backup["BackupId"]
            assert "BackupId" not in answer["DestinationBackup"]
        return made

    def backup(self, which: int) -> tuple[Place, dict[str, Any]]:
        return self.seen.all_backups[-1 - which % len(self.seen.all_backups)]

    @precondition(lambda self: self.seen.all_backups)
    @rule(which=WHICH, take_off=st.booleans())
    def share(self, which: int, take_off: bool) -> None:
        place, backup = self.backup(which)
        arn = backup["BackupArn"]
        if backup["BackupState"] == "DELETED":
            return
        had = self.world.call(place, "GetResourcePolicy", ResourceArn=arn)["Policy"]
        if take_off:
            answer = self.ask(place, "DeleteResourcePolicy", True, ResourceArn=arn)
            assert answer == {"ResourceArn": arn, "Policy": had}
            assert self.world.call(place, "GetResourcePolicy", ResourceArn=arn) == {"Policy": "{}"}
            return
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": STRANGER.account},
            "Action": ["cloudhsm:CreateCluster", "cloudhsm:DescribeBackups"],
            "Resource": arn,
        }
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        answer = self.ask(place, "PutResourcePolicy", backup["BackupState"] == "READY", ResourceArn=arn, Policy=policy)
        if answer:
            assert answer == {"ResourceArn": arn, "Policy": policy}
            assert self.world.call(place, "GetResourcePolicy", ResourceArn=arn) == {"Policy": policy}
            there = Place(STRANGER.account, place.region)
            shown = self.pages(there, "DescribeBackups", Shared=True) if there in PLACES and there != place else []
            promoted = self.knobs.policy_shares_are_promoted and there in PLACES and there != place
            assert (backup in shown) == promoted

    # Tags.

    @precondition(lambda self: self.resources)
    @rule(which=WHICH, tags=TAGS.filter(bool))
    def tag(self, which: int, tags: dict[str, str]) -> None:
        place, name, had = self.resources[which % len(self.resources)]
        new = {tag["Key"]: tag["Value"] for tag in had} | tags
        tag_list = [{"Key": key, "Value": value} for key, value in tags.items()]
        if self.ask(place, "TagResource", True, ResourceId=name, TagList=tag_list) is not None:
            self.done.tagged[name] = [{"Key": key, "Value": value} for key, value in new.items()]

    @precondition(lambda self: self.resources)
    @rule(which=WHICH, keys=st.sets(st.sampled_from(("Name", "owner", "Größe")), min_size=1))
    def untag(self, which: int, keys: set[str]) -> None:
        place, name, had = self.resources[which % len(self.resources)]
        if self.ask(place, "UntagResource", True, ResourceId=name, TagKeyList=sorted(keys)) is not None:
            self.done.tagged[name] = [tag for tag in had if tag["Key"] not in keys]

    @precondition(lambda self: self.resources)
    @rule(which=WHICH, size=st.integers(1, 3))
    def list_tags(self, which: int, size: int) -> None:
        place, name, tags = self.resources[which % len(self.resources)]
        assert self.pages(place, "ListTags", ResourceId=name, MaxResults=size) == tags

    @property
    def resources(self) -> list[tuple[Place, str, list[dict[str, str]]]]:
        """The place, the id and the tags of everything that can be tagged."""
        clusters = [
            (place, view["ClusterId"], view["TagList"]) for place, view in self.clusters if view["State"] != "DELETED"
        ]
        return clusters + [
            (place, view["BackupId"], view["TagList"])
            for place, view in self.seen.all_backups
            if view["BackupState"] in ("CREATE_IN_PROGRESS", "READY")
        ]

    # Looking.

    @precondition(lambda self: self.world)
    @rule(place=MODEL_PLACES, size=st.integers(1, 3), ascending=st.booleans())
    def turn_pages(self, place: Place, size: int, ascending: bool) -> None:
        clusters, backups = (list(views[place].values()) for views in (self.seen.clusters, self.seen.backups))
        assert self.pages(place, "DescribeClusters", MaxResults=size) == clusters
        found = self.pages(place, "DescribeBackups", MaxResults=size * 7, SortAscending=ascending)
        assert found == (backups[::-1] if ascending else backups)
        assert [b["CreateTimestamp"] for b in backups] == sorted((b["CreateTimestamp"] for b in backups), reverse=True)

    @precondition(lambda self: self.seen.all_backups)
    @rule(which=WHICH, seconds=SECONDS)
    def turn_pages_while_things_change(self, which: int, seconds: int) -> None:
        """What is there before the first page and after the last one is shown once."""
        place, first = self.backup(which)
        answer = self.world.call(place, "DescribeBackups", MaxResults=1)
        shown = [backup["BackupId"] for backup in answer["Backups"]]
        if first["BackupState"] == "READY":
            self.world.service.faults.clear()
            self.delete_backup(which)
            self.observe()
        self.advance(seconds)
        while "NextToken" in answer:
            answer = self.world.call(place, "DescribeBackups", MaxResults=5, NextToken=answer["NextToken"])
            shown += [backup["BackupId"] for backup in answer["Backups"]]
        assert len(shown) == len(set(shown))
        assert set(self.seen.backups[place]) & set(self.look().backups[place]) <= set(shown)

    @precondition(lambda self: self.clusters)
    @rule(which=WHICH, names=st.sets(st.sampled_from(("clusterIds", "states", "vpcIds")), max_size=2))
    def filter_clusters(self, which: int, names: set[str]) -> None:
        place, cluster = self.clusters[which % len(self.clusters)]
        members = {"clusterIds": "ClusterId", "states": "State", "vpcIds": "VpcId"}
        wanted = {name: [cluster[members[name]], "other"] for name in names}
        self.filtered(place, "DescribeClusters", list(self.seen.clusters[place].values()), members, wanted)

    @precondition(lambda self: self.seen.all_backups)
    @rule(
        which=WHICH,
        names=st.sets(
            st.sampled_from(("backupIds", "clusterIds", "neverExpires", "sourceBackupIds", "states")), max_size=2
        ),
    )
    def filter_backups(self, which: int, names: set[str]) -> None:
        place, backup = self.backup(which)
        members = {
            "backupIds": "BackupId",
            "clusterIds": "ClusterId",
            "states": "BackupState",
            "sourceBackupIds": "SourceBackup",
            "neverExpires": "NeverExpires",
        }
        # A copy may show its cluster as the source only.
        told = {"ClusterId": backup.get("SourceCluster"), "SourceBackup": backup["BackupId"]} | backup
        wanted = {name: [str(told[members[name]])] for name in names}
        self.filtered(place, "DescribeBackups", list(self.seen.backups[place].values()), members, wanted)

    def filtered(
        self,
        place: Place,
        operation: str,
        views: list[dict[str, Any]],
        members: dict[str, str],
        wanted: dict[str, list[str]],
    ) -> None:
        """Filters pick what they name by what is shown of it, and all of them together."""
        fitting = [view for view in views if all(str(view.get(members[n])) in values for n, values in wanted.items())]
        assert self.pages(place, operation, Filters=wanted) == fitting
        known = self.ask(place, operation, self.knobs.unknown_filter_accepted, Filters={"colour": ["red"]})
        assert (known is not None) == self.knobs.unknown_filter_accepted
        self.done.refused = False

    @precondition(lambda self: len(self.past) > 1)
    @rule(which=WHICH)
    def look_late(self, which: int) -> None:
        """With a lag, DescribeClusters shows what it would have shown then."""
        then = list(self.past)[-1 - which % len(self.past)]
        seen = self.past[then]
        self.world.service.set_knobs({"describe_lag_seconds": self.seen.now - then})
        for place in PLACES:
            late = {view["ClusterId"]: strip(view) for view in self.pages(place, "DescribeClusters")}
            assert late == {name: strip(view) for name, view in seen.clusters[place].items()}
        self.world.service.set_knobs({"describe_lag_seconds": 0.0})

    # The rest of the world.

    @precondition(lambda self: self.world)
    @rule(seconds=SECONDS)
    def advance(self, seconds: int) -> None:
        self.world.clock.advance(seconds)

    @precondition(lambda self: self.world)
    @rule(kind=FAULTS, operation=st.sampled_from(CHANGING))
    def fault(self, kind: str, operation: str) -> None:
        code = {"code": "CloudHsmServiceException"} if kind == "fail" else {}
        self.world.service.faults.add({"kind": kind, "operation": operation, **code})

    @precondition(lambda self: self.world)
    @rule(kind=CONDITIONS, times=st.sampled_from((1, 1, 2)))
    def condition(self, kind: str, times: int) -> None:
        self.world.service.faults.add({"kind": kind, "times": times})

    @precondition(lambda self: self.world and self.world.service.faults.waiting())
    @rule()
    def clear_faults(self) -> None:
        self.world.service.faults.clear()

    # What must be true.

    @invariant()
    def the_laws_hold(self) -> None:
        if self.world:
            self.observe()

    def observe(self) -> None:
        before, now = self.seen, self.look()
        for law in LAWS:
            law(before, now, self.done, self.knobs)
        self.ids_are_never_used_again(now)
        self.contents_come_back(before, now)
        self.removal_is_backed_up(before, now)
        self.retention_is_carried_out(now)
        self.addresses_are_released(now)
        self.claims_are_shown(now)
        self.was_active |= {c["ClusterId"] for _place, c in now.all_clusters if self.is_active(c)}
        self.past[now.now] = now
        if len(self.past) > 12:
            del self.past[next(iter(self.past))]
        self.done = Done()
        self.seen = now

    def ids_are_never_used_again(self, now: Seen) -> None:
        """An id means one thing for ever, in one place."""
        met: dict[str, Any] = {}
        for place, cluster in now.all_clusters:
            met[cluster["ClusterId"]] = (place, cluster["CreateTimestamp"], cluster["SecurityGroup"])
            for hsm in cluster["Hsms"]:
                met[hsm["HsmId"]] = hsm["EniId"]
                met[hsm["EniId"]] = (cluster["ClusterId"], hsm["EniIp"])
        met |= {b["BackupId"]: (place, b["BackupArn"], b.get("SourceBackup")) for place, b in now.all_backups}
        for name, meaning in met.items():
            assert self.owners.setdefault(name, meaning) == meaning, f"{name} means two things"
        gone = {name for name in self.owners if name not in met and self.owners[name] is not None}
        self.retired = getattr(self, "retired", set())
        assert not self.retired & set(met), "an id came back"
        self.retired |= gone

    def contents_come_back(self, before: Seen, now: Seen) -> None:
        """HSMs hold what was in them, or what was in the newest backup when they were made."""
        for _place, cluster in now.all_clusters:
            name = cluster["ClusterId"]
            active = [hsm for hsm in cluster["Hsms"] if hsm["State"] == "ACTIVE"]
            assert self.world.vault.alive(name) == bool(active)
            stayed = name in self.inside and name not in self.done.emptied
            if not active:
                self.inside.pop(name, None)
                continue
            users = self.users(name)
            if stayed:
                assert users == self.inside[name], f"the users of {name} changed"
            else:
                self.is_restored(before, now, name, active, users)
            self.inside[name] = users
        self.remember_backups(before, now)

    def is_restored(self, before: Seen, now: Seen, name: str, active: list[dict[str, Any]], users: Users) -> None:
        ready = self.newest(before, name)
        known = {backup["BackupId"] for backup in ready}
        late = [b for b in self.newest(now, name) if b["BackupId"] not in known and b["CreateTimestamp"] < now.now]
        # Where none was READY at CreateHsm, it is chosen later after all.
        chosen = self.chosen.get(active[0]["EniId"]) if len(active) == 1 else None
        if self.knobs.restore_chosen_at_creation and chosen:
            ready, late = chosen, []
        source = self.source(ready, name)
        # A backup that was not READY when last seen may have been when the HSM was filled.
        if source == "unclear" or late or any(planned[0] == name for planned in self.planned):
            event("unclear where the contents of an HSM come from")
            return
        if source == "none":
            event("a fresh HSM")
            assert ("admin", "unactivated-admin", False) in users
            assert self.knobs.restore_without_backup == "empty" or name not in self.was_active
        else:
            event("the contents came back")
            assert users == self.kept[source], f"{name} was not filled from {source}"

    def remember_backups(self, before: Seen, now: Seen) -> None:
        for place, backup in now.all_backups:
            backup_id, name = backup["BackupId"], backup.get("ClusterId", "")
            if backup_id in before.backups[place]:
                continue
            planned = [plan for plan in self.planned if plan[:2] == (name, backup["CreateTimestamp"])]
            if "SourceBackup" in backup:
                if backup["SourceBackup"] in self.kept:
                    self.kept[backup_id] = self.kept[backup["SourceBackup"]]
            elif name in self.done.removed:
                self.kept[backup_id] = self.done.removed[name]
            elif len(planned) == 1 and name not in self.inside:
                self.kept[backup_id] = planned[0][2]
            elif name in self.inside and not planned:
                self.kept[backup_id] = list(self.inside[name])

    def removal_is_backed_up(self, before: Seen, now: Seen) -> None:
        """Removing an HSM from an ACTIVE cluster makes one backup, and so does not removing it none."""
        for name, _users in self.done.removed.items():
            known = {backup["BackupId"] for backup in before.own_backups(name)}
            [made] = [backup for backup in now.own_backups(name) if backup["BackupId"] not in known]
            assert (made["BackupState"], made["CreateTimestamp"]) == ("CREATE_IN_PROGRESS", now.now)
        due = [plan for plan in self.planned if plan[1] <= now.now]
        for name, moment, _users in due:
            lists_it = now.now - moment < 7 * 86_400
            assert not lists_it or [b for b in now.own_backups(name) if b["CreateTimestamp"] == moment]
        self.planned = [plan for plan in self.planned if plan not in due]

    def retention_is_carried_out(self, now: Seen) -> None:
        """What is older than the retention of a living cluster is deleted, but for its last one."""
        for _place, cluster in now.all_clusters:
            if cluster["State"] == "DELETED" or cluster["ClusterId"] in self.spared:
                continue
            days = int(cluster["BackupRetentionPolicy"]["Value"])
            ready = [b for b in now.own_backups(cluster["ClusterId"]) if b["BackupState"] == "READY"]
            newest = max((backup["CreateTimestamp"] for backup in ready), default=0)
            for backup in ready:
                old = now.now - backup["CreateTimestamp"] >= days * 86_400
                assert not old or backup["NeverExpires"] or backup["CreateTimestamp"] == newest, f"{backup} is too old"

    def addresses_are_released(self, now: Seen) -> None:
        """What is in EC2 is what HSMs have there, until their network interface is released."""
        for place, network in self.world.networks.items():
            there = {
                (hsm["SubnetId"], hsm["EniIp"]): hsm["EniId"]
                for cluster in now.clusters[place].values()
                for hsm in present(cluster)
            }
            living = {name for name, view in now.clusters[place].items() if view["State"] != "DELETED"}
            held = {
                where
                for where, (until, name) in self.busy_until.items()
                if until > now.now and name in living and where[0] in network.subnets
            }
            assert set(network.interfaces.values()) == set(there) | held
            assert len(network.interfaces) == len(set(network.interfaces.values()))
            assert set(there.values()) <= set(network.interfaces)
            groups = {view["SecurityGroup"] for view in now.clusters[place].values() if view["State"] != "DELETED"}
            assert network.groups == groups

    def claims_are_shown(self, now: Seen) -> None:
        """A claimed cluster shows the certificate that it was claimed with."""
        for _place, cluster in now.all_clusters:
            shown = cluster["Certificates"].get("ClusterCertificate")
            if shown and cluster["ClusterId"] in self.claims:
                assert shown == self.claims[cluster["ClusterId"]]

    def histories_follow_the_arrows(self) -> None:
        """Also what nobody looked at went along the arrows: each step of every history, not only what it led to."""
        for store in self.world.service.dump()["stores"].values():
            for cluster in store.clusters.values():
                arrows = laws.CLUSTER_FROM_BACKUP if cluster.source_backup else laws.CLUSTER
                self.follow(arrows, cluster.status)
                for hsm in cluster.hsms:
                    self.follow(laws.HSM, hsm.status, hsm.ids)
            for backup in store.backups.values():
                self.follow(laws.COPY if backup.origin else laws.BACKUP, backup.status)

    def follow(self, arrows: laws.Arrows, status: Any, ids: Any = None) -> None:
        # A look from outside would miss a state that was left at the moment when it was reached.
        steps = [(at, value.name if value else laws.NOTHING) for at, value in status._steps]
        past = [(START, laws.NOTHING), *(step for step in steps if step[0] <= self.world.clock.now())]
        for (_since, origin), (began, state) in itertools.pairwise(past):
            replaced = ids and ids.at(began) != ids.at(math.nextafter(began, 0))
            assert replaced or state == origin or state in arrows[origin], f"{origin} -> {state}"

    # What the machine knows about contents.

    def users(self, cluster_id: str) -> Users:
        status, answer = self.world.control("GET", f"clusters/{cluster_id}/users")
        assert status == 200, answer
        return [(user["name"], user["role"], user["locked"]) for user in answer["users"]]

    def newest(self, seen: Seen, cluster_id: str) -> list[dict[str, Any]]:
        """Return the backups that a new HSM may be restored from, newest first."""
        ready = [backup for backup in seen.own_backups(cluster_id) if backup["BackupState"] == "READY"]
        return sorted(ready, key=lambda backup: -backup["CreateTimestamp"])

    def source(self, ready: list[dict[str, Any]], cluster_id: str) -> str:
        """Return whose contents a new HSM gets: a backup's, the cluster's own source's, `none`, or `unclear`."""
        for index, backup in enumerate(ready):
            if backup["BackupId"] not in self.kept:
                return "unclear"
            tied = [other for other in ready[index + 1 :] if other["CreateTimestamp"] == backup["CreateTimestamp"]]
            if any(self.kept.get(o["BackupId"], ()) != self.kept[backup["BackupId"]] for o in tied):
                return "unclear"
            if self.kept[backup["BackupId"]] is not None:
                return str(backup["BackupId"])
        if "SourceBackupId" in (self.seen.cluster(cluster_id) or {}):
            return ("none" if self.kept[cluster_id] is None else cluster_id) if cluster_id in self.kept else "unclear"
        return "none"


def strip(cluster: dict[str, Any]) -> dict[str, Any]:
    hsms = [{member: value for member, value in hsm.items() if member != "HsmType"} for hsm in cluster["Hsms"]]
    return {member: value for member, value in (cluster | {"Hsms": hsms}).items() if member not in WITHOUT_HISTORY}


def test_anything_goes() -> None:
    checks = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    with mock.patch.object(certificates, "rsa", QUICK_RSA):
        run_state_machine_as_test(AnythingGoes, settings=checks)
