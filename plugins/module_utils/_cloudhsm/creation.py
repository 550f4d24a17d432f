# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Have one HSM created for one wish, whatever becomes of the answers.

CreateHsm has no idempotency token. So it is sent once for a wish; where its answer is lost, what it made is looked for.
"""

from __future__ import annotations

import functools
import ipaddress
import re
import typing as t
from collections import Counter
from dataclasses import dataclass

from . import api
from .common import AnsibleCloudHSMError, error_code, error_text, may_have_had_effect
from .deadline import DeadlineError
from .plan import Placement, PlanError
from .transformations import to_hsm
from .waiters import Verdict, WaitError

if t.TYPE_CHECKING:
    from .guard import Guard
    from .plan import Create
    from .resources import Hsm
    from .view import ClusterView
    from .waiters import Wait

# How long an HSM whose CreateHsm answer was lost may take to be shown. AWS states no figure for the lag of
# DescribeClusters; those that were measured in this API are shorter.
ADOPT_SECONDS = 120

# AWS documents no error of its own for an address that is taken or a zone without capacity: they come as one of these.
_REFUSALS = frozenset(("CloudHsmInvalidRequestException", "CloudHsmServiceException"))
_ABOUT_ADDRESS = re.compile(r"\bip\b|ipaddress|\baddress(es)?\b", re.IGNORECASE)


class UnclearCreationError(AnsibleCloudHSMError):
    """AWS may or may not have made an HSM. Whoever asked must not ask again, here or elsewhere: that could make two."""


@dataclass(frozen=True)
class CreateOptions:
    """How far the creation of an HSM may go from what was asked for.

    Attributes:
        az_fallback: Where a zone refuses, take another one of the cluster's, at any address.
        any_address: Where an address stays taken, take any of its zone.
        address_patience: Seconds during which an address that is taken is asked for again.
    """

    az_fallback: bool = False
    any_address: bool = False
    address_patience: float = 300


class Creator:
    """Creates HSMs in one cluster.

    Args:
        view: The cluster.
        creating_client: Makes the client for CreateHsm; called only when an HSM is created.
        ec2_client: Makes the EC2 client; called only when an address was asked for.
        options: How far it may go.
        wait: The bound of the run.
        guard: Has given the right to create whenever `create` is called.
    """

    def __init__(
        self,
        view: ClusterView,
        creating_client: t.Callable[[], t.Any],
        ec2_client: t.Callable[[], t.Any],
        options: CreateOptions,
        wait: Wait,
        guard: Guard,
    ) -> None:
        self._view = view
        self._make_creating_client = creating_client
        self._ec2_client = ec2_client
        self._options = options
        self._wait = wait
        self._guard = guard
        self._refusing: set[str] = set()

    @functools.cached_property
    def _creating_client(self) -> t.Any:
        return self._make_creating_client()

    def check_addresses(self, wishes: t.Iterable[Create]) -> None:
        """Refuse an address outside its zone's subnet before anything is changed; AWS documents no error for it.

        Raises:
            PlanError: An address is not one of its zone's subnet.
        """
        placements = [wish.placement for wish in wishes if wish.placement.ip_address]
        if not placements:
            return
        mapping = self._view.cluster.subnet_mapping
        try:
            subnets = api.describe_subnets(
                self._ec2_client(), sorted({mapping[placement.availability_zone] for placement in placements})
            )
        except AnsibleCloudHSMError as error:
            self._view.outcome.warnings.append(f"placements: addresses were not checked against subnets. {error}")
            return
        networks = {subnet["SubnetId"]: ipaddress.ip_network(subnet["CidrBlock"]) for subnet in subnets}
        for placement in placements:
            network = networks[mapping[placement.availability_zone]]
            if ipaddress.ip_address(placement.ip_address or "") not in network:
                raise PlanError(
                    "placements",
                    f"{placement.ip_address} is not in {network}, the subnet of {placement.availability_zone}. Name an "
                    "address of that subnet, or leave ip_address out.",
                )

    def create(self, wish: Create) -> Hsm:
        """Have one HSM created.

        Raises:
            UnclearCreationError: AWS may or may not have made it.
            AnsibleCloudHSMError: AWS refused.
        """
        places = self._places(wish)
        for place, following in zip(places, [*places[1:], None], strict=True):
            try:
                hsm = self._create_at(place)
            except (DeadlineError, UnclearCreationError):
                raise
            except AnsibleCloudHSMError as error:
                if following is None or not self._may_go_elsewhere(place, error):
                    raise
                self._refusing.add(place.availability_zone)
                self._view.outcome.warnings.append(f"{_sentence(error)} Trying {following} instead.")
            else:
                self._view.outcome.created.append(hsm)
                self._view.outcome.actions.append(f"create an HSM in {place}")
                break
        return hsm

    def _may_go_elsewhere(self, place: Placement, error: AnsibleCloudHSMError) -> bool:
        if _is_address_taken(place, error):
            return self._options.any_address
        return error_code(error.exception) in _REFUSALS

    def _places(self, wish: Create) -> list[Placement]:
        """Where to ask, in order. A fallback goes to the emptiest zone, and last to one that has refused in this run."""
        zone, address = wish.placement.availability_zone, wish.placement.ip_address
        places = [wish.placement] if address else []
        if address and self._options.any_address:
            places.append(Placement(zone))
        zones = [] if address else [zone]
        if self._options.az_fallback:
            known = {hsm.hsm_id: hsm for hsm in (*self._view.cluster.hsms, *self._view.outcome.created)}
            crowd = Counter(hsm.availability_zone for hsm in known.values() if not hsm.leaving)
            zones = sorted([*zones, *wish.fallback_zones], key=lambda name: (name in self._refusing, crowd[name]))
        return places + [Placement(name) for name in zones]

    def _create_at(self, place: Placement) -> Hsm:
        """Ask for an HSM in one place, again while its address is being released."""
        made: list[Hsm] = []
        refusals: list[AnsibleCloudHSMError] = []

        def ask() -> Verdict:
            self._guard.extend()
            try:
                made.append(self._create_once(place))
            except (DeadlineError, UnclearCreationError):
                raise
            except AnsibleCloudHSMError as error:
                if not _is_address_taken(place, error):
                    raise
                refusals.append(error)
            return Verdict(bool(made), f"address {place.ip_address} is still taken")

        if self._wait.until(ask, timeout=self._options.address_patience):
            return made[0]
        raise refusals[-1]

    def _create_once(self, place: Placement) -> Hsm:
        known = {hsm.hsm_id for hsm in (*self._view.cluster.hsms, *self._view.outcome.created)}
        try:
            answer = api.create_hsm(
                self._creating_client, self._view.cluster_id, place.availability_zone, place.ip_address
            )
        except DeadlineError:
            raise
        except AnsibleCloudHSMError as error:
            if not may_have_had_effect(error.exception):
                raise
            return self._adopt(place, known, error)
        return to_hsm(answer)

    def _adopt(self, place: Placement, known: set[str], error: AnsibleCloudHSMError) -> Hsm:
        """Find the HSM that a CreateHsm without an answer made."""
        found: list[Hsm] = []

        def look() -> Verdict:
            hsms = self._view.look().hsms
            found.extend(hsm for hsm in hsms if hsm.hsm_id not in known and place.met_by(hsm) and not hsm.leaving)
            return Verdict(bool(found), "the answer to CreateHsm was lost; looking for the HSM that it made")

        failure = ""
        try:
            self._wait.until(look, timeout=ADOPT_SECONDS)
        except (AnsibleCloudHSMError, PlanError, WaitError) as unseen:
            failure = f" ({unseen})"
        if found:
            self._view.outcome.warnings.append(
                f"{_sentence(error)} The HSM was made all the same, and was adopted: {found[0]}."
            )
            return found[0]
        raise UnclearCreationError(
            message=f"{error.message}. AWS may or may not have made the HSM: none was seen within {ADOPT_SECONDS} s{failure}. "
            "It was not asked for again, because that could make two. Run again in a few minutes: what is there is adopted",
            exception=error.exception,
        ) from error


def _is_address_taken(place: Placement, error: AnsibleCloudHSMError) -> bool:
    refused = error_code(error.exception) in _REFUSALS
    return bool(place.ip_address) and refused and bool(_ABOUT_ADDRESS.search(error_text(error.exception)))


def _sentence(error: AnsibleCloudHSMError) -> str:
    return f"{str(error).rstrip('.')}."
