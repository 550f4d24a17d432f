# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError
from harness.kms import ANCHOR, CLUSTER, PASSWORD, REGION, World

OTHER = "cluster-bcdefghij22"
STORE = {
    "CustomKeyStoreName": "store",
    "CloudHsmClusterId": CLUSTER,
    "TrustAnchorCertificate": ANCHOR,
    "KeyStorePassword": PASSWORD,
}


def only(kms: Any) -> dict[str, Any]:
    [store] = kms.describe_custom_key_stores()["CustomKeyStores"]
    return store


def test_new_store_is_disconnected(world: World, kms: Any, store_id: str) -> None:
    store = only(kms)
    assert store_id.startswith("cks-")
    assert len(store_id) == len("cks-1234567890abcdef0")
    assert store.pop("CreationDate").timestamp() == world.clock.now()
    assert store == {
        "CustomKeyStoreId": store_id,
        "CustomKeyStoreName": "store",
        "CustomKeyStoreType": "AWS_CLOUDHSM",
        "CloudHsmClusterId": CLUSTER,
        "TrustAnchorCertificate": ANCHOR,
        "ConnectionState": "DISCONNECTED",
    }


def test_repeated_create_gets_the_same_store(kms: Any, store_id: str) -> None:
    crlf = ANCHOR.replace("\n", "\r\n")
    assert kms.create_custom_key_store(**STORE | {"TrustAnchorCertificate": crlf})["CustomKeyStoreId"] == store_id


@pytest.mark.parametrize("error", ["none", "NETWORK_ERRORS"])
def test_repeated_create_is_refused_after_a_connect(world: World, kms: Any, store_id: str, error: str) -> None:
    world.set_knobs(kms_connect_error=error)
    kms.connect_custom_key_store(CustomKeyStoreId=store_id)
    with pytest.raises(kms.exceptions.CustomKeyStoreNameInUseException):
        kms.create_custom_key_store(**STORE)


@pytest.mark.parametrize("change", [{"KeyStorePassword": "another1"}, {"CloudHsmClusterId": OTHER}])
def test_create_with_the_name_of_another_store(kms: Any, store_id: str, change: dict[str, str]) -> None:
    with pytest.raises(kms.exceptions.CustomKeyStoreNameInUseException):
        kms.create_custom_key_store(**STORE | change)


def test_create_with_a_cluster_in_use(world: World, kms: Any, store_id: str) -> None:
    world.clusters.add(OTHER)
    for cluster_id in (CLUSTER, OTHER):
        with pytest.raises(kms.exceptions.CloudHsmClusterInUseException):
            kms.create_custom_key_store(**STORE | {"CustomKeyStoreName": "b", "CloudHsmClusterId": cluster_id})


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"state": "INITIALIZED"}, "CloudHsmClusterNotActiveException"),
        ({"active_azs": []}, "CloudHsmClusterInvalidConfigurationException"),
        ({"active_azs": [f"{REGION}a", f"{REGION}a"]}, "CloudHsmClusterInvalidConfigurationException"),
        ({"trust_anchor": "another"}, "IncorrectTrustAnchorException"),
    ],
)
def test_create_refuses_a_cluster(world: World, kms: Any, facts: dict[str, Any], code: str) -> None:
    world.clusters.add()
    world.clusters.change(**facts)
    with pytest.raises(ClientError, match=code):
        kms.create_custom_key_store(**STORE)
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []


def test_create_takes_any_anchor_where_nobody_knows_the_right_one(world: World, kms: Any) -> None:
    world.clusters.add(anchor=None)
    kms.create_custom_key_store(**STORE)
    assert only(kms)["TrustAnchorCertificate"] == ANCHOR


def test_create_with_an_unknown_cluster(world: World, kms: Any) -> None:
    with pytest.raises(kms.exceptions.CloudHsmClusterNotFoundException):
        kms.create_custom_key_store(**STORE)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"CloudHsmClusterId": "cluster-11111111111"}, "ValidationException.*CloudHsmClusterId"),
        ({"KeyStorePassword": "x" * 33}, "ValidationException.*KeyStorePassword"),
        ({"KeyStorePassword": None}, "ValidationException.*needs KeyStorePassword"),
        ({"CustomKeyStoreType": "EXTERNAL_KEY_STORE"}, "UnsupportedOperationException.*not implemented"),
        ({"XksProxyUriEndpoint": "https://example.com"}, "ValidationException.*XksProxyUriEndpoint"),
    ],
)
def test_create_refuses_a_request(world: World, kms: Any, change: dict[str, str | None], code: str) -> None:
    world.clusters.add()
    request = {member: value for member, value in (STORE | change).items() if value is not None}
    with pytest.raises(ClientError, match=code):
        kms.create_custom_key_store(**request)


def make_ten(world: World, kms: Any) -> list[str]:
    made = []
    for letter in "abcdefghij":
        cluster_id = f"cluster-{letter * 11}"
        world.clusters.add(cluster_id, certificate=letter)
        request = STORE | {"CustomKeyStoreName": letter, "CloudHsmClusterId": cluster_id}
        made.append(kms.create_custom_key_store(**request)["CustomKeyStoreId"])
    return made


def test_limit_of_ten_stores(world: World, kms: Any) -> None:
    made = make_ten(world, kms)
    world.clusters.add()
    with pytest.raises(kms.exceptions.LimitExceededException):
        kms.create_custom_key_store(**STORE)
    kms.delete_custom_key_store(CustomKeyStoreId=made[0])
    kms.create_custom_key_store(**STORE)


def test_describe_in_pages(world: World, kms: Any) -> None:
    made = make_ten(world, kms)
    pages = list(kms.get_paginator("describe_custom_key_stores").paginate(PaginationConfig={"PageSize": 4}))
    ids = [[store["CustomKeyStoreId"] for store in page["CustomKeyStores"]] for page in pages]
    assert ids == [made[:4], made[4:8], made[8:]]
    assert [page["Truncated"] for page in pages] == [True, True, False]
    kms.delete_custom_key_store(CustomKeyStoreId=made[3])
    rest = kms.describe_custom_key_stores(Marker=pages[0]["NextMarker"])
    assert [store["CustomKeyStoreId"] for store in rest["CustomKeyStores"]] == made[4:]


def test_describe_one(world: World, kms: Any) -> None:
    made = make_ten(world, kms)
    for wanted in ({"CustomKeyStoreId": made[2]}, {"CustomKeyStoreName": "c"}):
        [store] = kms.describe_custom_key_stores(**wanted)["CustomKeyStores"]
        assert store["CustomKeyStoreId"] == made[2]
    for missing in ({"CustomKeyStoreId": "cks-0"}, {"CustomKeyStoreName": "z"}):
        with pytest.raises(kms.exceptions.CustomKeyStoreNotFoundException):
            kms.describe_custom_key_stores(**missing)
    with pytest.raises(ClientError, match="ValidationException"):
        kms.describe_custom_key_stores(CustomKeyStoreId=made[2], CustomKeyStoreName="c")
    with pytest.raises(ClientError, match="InvalidMarkerException"):
        kms.describe_custom_key_stores(Marker="garbage")


def test_update_in_any_order(world: World, kms: Any, store_id: str) -> None:
    world.clusters.add(OTHER)
    kms.update_custom_key_store(
        CustomKeyStoreId=store_id, NewCustomKeyStoreName="new", CloudHsmClusterId=OTHER, KeyStorePassword="another1"
    )
    assert (only(kms)["CustomKeyStoreName"], only(kms)["CloudHsmClusterId"]) == ("new", OTHER)


def test_update_to_the_name_of_another_store(world: World, kms: Any, store_id: str) -> None:
    world.clusters.add(OTHER, certificate="unrelated")
    kms.create_custom_key_store(**STORE | {"CustomKeyStoreName": "other", "CloudHsmClusterId": OTHER})
    with pytest.raises(kms.exceptions.CustomKeyStoreNameInUseException):
        kms.update_custom_key_store(CustomKeyStoreId=store_id, NewCustomKeyStoreName="other")
    kms.update_custom_key_store(CustomKeyStoreId=store_id, NewCustomKeyStoreName="store")


@pytest.mark.parametrize(
    ("certificate", "facts", "code"),
    [
        (None, {}, "CloudHsmClusterNotFoundException"),
        ("unrelated", {}, "CloudHsmClusterNotRelatedException"),
        ("certificate", {"state": "DEGRADED"}, "CloudHsmClusterNotActiveException"),
        ("certificate", {"active_azs": [f"{REGION}a"]}, "CloudHsmClusterInvalidConfigurationException"),
    ],
)
def test_update_refuses_a_cluster(
    world: World, kms: Any, store_id: str, certificate: str | None, facts: dict[str, Any], code: str
) -> None:
    if certificate is not None:
        world.clusters.add(OTHER, certificate=certificate)
        world.clusters.change(OTHER, **facts)
    with pytest.raises(ClientError, match=code):
        kms.update_custom_key_store(CustomKeyStoreId=store_id, CloudHsmClusterId=OTHER, NewCustomKeyStoreName="new")
    assert (only(kms)["CustomKeyStoreName"], only(kms)["CloudHsmClusterId"]) == ("store", CLUSTER)


def test_update_wants_two_hsms_even_for_a_password(world: World, kms: Any, store_id: str) -> None:
    world.clusters.change(active_azs=[f"{REGION}a"])
    update = {"CustomKeyStoreId": store_id, "KeyStorePassword": "another1"}
    with pytest.raises(kms.exceptions.CloudHsmClusterInvalidConfigurationException):
        kms.update_custom_key_store(**update)
    world.set_knobs(kms_update_always_checks_cluster=False)
    kms.update_custom_key_store(**update)
    with pytest.raises(kms.exceptions.CloudHsmClusterInvalidConfigurationException):
        kms.update_custom_key_store(**update, CloudHsmClusterId=CLUSTER)


def test_connected_store_takes_a_name_and_nothing_else(kms: Any, connected_id: str) -> None:
    kms.update_custom_key_store(CustomKeyStoreId=connected_id, NewCustomKeyStoreName="new")
    assert only(kms)["CustomKeyStoreName"] == "new"
    for change in ({"KeyStorePassword": "another1"}, {"CloudHsmClusterId": CLUSTER}):
        with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
            kms.update_custom_key_store(CustomKeyStoreId=connected_id, **change)
    with pytest.raises(kms.exceptions.CustomKeyStoreInvalidStateException):
        kms.delete_custom_key_store(CustomKeyStoreId=connected_id)


def test_delete(kms: Any, store_id: str) -> None:
    kms.delete_custom_key_store(CustomKeyStoreId=store_id)
    assert kms.describe_custom_key_stores()["CustomKeyStores"] == []
    for operation in ("delete", "connect", "disconnect", "update"):
        with pytest.raises(kms.exceptions.CustomKeyStoreNotFoundException):
            getattr(kms, f"{operation}_custom_key_store")(CustomKeyStoreId=store_id)
