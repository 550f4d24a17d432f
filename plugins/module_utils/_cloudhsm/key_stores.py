# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""The calls to KMS about custom key stores, one function each. They decide nothing; every failure is an AnsibleCloudHSMError."""

from __future__ import annotations

import typing as t

from .common import READ_RETRY, CloudHSMErrorHandler
from .key_stores_plan import KeyStore


@CloudHSMErrorHandler.common_error_handler(
    "describe the custom key stores of KMS on {cluster_id} (permission kms:DescribeCustomKeyStores)"
)
@READ_RETRY
def of_cluster(client: t.Any, cluster_id: str) -> list[KeyStore]:
    """DescribeCustomKeyStores, every page: the key stores on one cluster, by id. KMS itself filters by no cluster."""
    pages = client.get_paginator("describe_custom_key_stores").paginate()
    found = [
        store for page in pages for store in page["CustomKeyStores"] if store.get("CloudHsmClusterId") == cluster_id
    ]
    return sorted((_to_key_store(store) for store in found), key=lambda store: store.store_id)


@CloudHSMErrorHandler.common_error_handler("connect {store_id} (permission kms:ConnectCustomKeyStore)")
@READ_RETRY
def connect(client: t.Any, store_id: str) -> None:
    """ConnectCustomKeyStore. It begins to connect; DescribeCustomKeyStores shows what becomes of it."""
    client.connect_custom_key_store(CustomKeyStoreId=store_id)


@CloudHSMErrorHandler.common_error_handler("disconnect {store_id} (permission kms:DisconnectCustomKeyStore)")
@READ_RETRY
def disconnect(client: t.Any, store_id: str) -> None:
    """DisconnectCustomKeyStore, likewise."""
    client.disconnect_custom_key_store(CustomKeyStoreId=store_id)


def _to_key_store(store: dict[str, t.Any]) -> KeyStore:
    return KeyStore(
        store_id=store["CustomKeyStoreId"],
        name=store.get("CustomKeyStoreName", ""),
        cluster_id=store["CloudHsmClusterId"],
        state=store.get("ConnectionState", ""),
        error_code=store.get("ConnectionErrorCode", ""),
    )
