# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""From the answers of AWS to plain values and to what modules return. Pure."""

from __future__ import annotations

import typing as t

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict

from .resources import Cluster, Hsm


def to_hsm(hsm: dict[str, t.Any]) -> Hsm:
    """Make the plain value of an HSM as DescribeClusters and CreateHsm show it."""
    return Hsm(
        hsm_id=hsm["HsmId"],
        availability_zone=hsm.get("AvailabilityZone", ""),
        state=hsm.get("State", ""),
        eni_id=hsm.get("EniId", ""),
        eni_ip=hsm.get("EniIp", ""),
        subnet_id=hsm.get("SubnetId", ""),
        state_message=hsm.get("StateMessage", ""),
    )


def to_cluster(cluster: dict[str, t.Any]) -> Cluster:
    """Make the plain value of a cluster as DescribeClusters shows it."""
    return Cluster(
        cluster_id=cluster["ClusterId"],
        state=cluster.get("State", ""),
        subnet_mapping=cluster.get("SubnetMapping", {}),
        hsms=tuple(to_hsm(hsm) for hsm in cluster.get("Hsms", [])),
    )


def to_tags(resource: dict[str, t.Any]) -> dict[str, str]:
    """Make a dictionary of the tags of a cluster or a backup."""
    return {tag["Key"]: tag["Value"] for tag in resource.get("TagList", [])}


def with_tags(resource: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    """Make the value that plans of clusters and backups are made of: as AWS shows it, with a dictionary of "tags"."""
    return {**{key: value for key, value in resource.items() if key != "TagList"}, "tags": to_tags(dict(resource))}


def resource_result(resource: dict[str, t.Any]) -> dict[str, t.Any]:
    """Make what a module returns of a cluster or a backup, as AWS shows it.

    AWS's members in snake case, the tags as a dictionary, and no password.
    """
    shown = {key: value for key, value in resource.items() if key not in ("PreCoPassword", "TagList")}
    result: dict[str, t.Any] = camel_dict_to_snake_dict(shown, ignore_list=["SubnetMapping"])
    result["tags"] = to_tags(resource)
    return result


def hsm_result(hsm: Hsm) -> dict[str, t.Any]:
    """Make what a module returns of an HSM, under the names that AWS gives, in snake case."""
    return {
        "hsm_id": hsm.hsm_id,
        "availability_zone": hsm.availability_zone,
        "state": hsm.state,
        "state_message": hsm.state_message,
        "eni_id": hsm.eni_id,
        "eni_ip": hsm.eni_ip,
        "subnet_id": hsm.subnet_id,
    }


def has_tags(cluster: dict[str, t.Any], wanted: t.Mapping[str, str]) -> bool:
    """Say whether a cluster, as DescribeClusters shows it, has all of these tags."""
    tags = to_tags(cluster)
    return all(key in tags and tags[key] == str(value) for key, value in wanted.items())
