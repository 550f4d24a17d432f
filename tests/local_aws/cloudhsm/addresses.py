# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""Which address of a subnet an HSM gets."""

from __future__ import annotations

import ipaddress

from .errors import CloudHsmError, fill, invalid
from .state import Context, Subnet

RESERVED_FIRST = 4
RESERVED_LAST = 1


def choose(ctx: Context, cluster_id: str, subnet: Subnet, wanted: str | None) -> str:
    """Return the address for a new HSM.

    AWS reserves the first four addresses and the last one of every subnet (documented). Without a wish the lowest free
    address is taken, so that runs repeat (AWS's own choice is unknown).

    Args:
        ctx: The request's context.
        cluster_id: The cluster that the HSM is for.
        subnet: Where the HSM goes.
        wanted: `IpAddress` of the request.

    Raises:
        CloudHsmError: The address is malformed, outside the subnet, reserved or taken; or none is free.
    """
    network = ipaddress.IPv4Network(subnet.cidr)
    taken = ctx.network.addresses_in_use(subnet.subnet_id)
    if wanted is None:
        for offset in range(RESERVED_FIRST, network.num_addresses - RESERVED_LAST):
            candidate = str(network[offset])
            if candidate not in taken:
                return candidate
        raise invalid(f"Subnet {subnet.subnet_id} has no free IP address.")
    try:
        address = ipaddress.IPv4Address(wanted)
    except ValueError:
        raise invalid(f"IpAddress {wanted} is not an IPv4 address.") from None
    if address not in network:
        message = f"IpAddress {wanted} is not within the CIDR {subnet.cidr} of subnet {subnet.subnet_id}."
        raise CloudHsmError(ctx.knobs.address_outside_code, message)
    offset = int(address) - int(network.network_address)
    if not RESERVED_FIRST <= offset < network.num_addresses - RESERVED_LAST:
        raise invalid(f"IpAddress {wanted} is reserved in subnet {subnet.subnet_id}.")
    if str(address) in taken or ctx.struck("busy_address", cluster_id, subnet.az):
        message = fill(ctx.knobs.address_busy_message, address=wanted, subnet=subnet.subnet_id)
        raise CloudHsmError(ctx.knobs.address_busy_code, message)
    return str(address)
