# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Take marks off: one's own, and void ones. Nobody takes off the mark of somebody else that may still mean something."""

from __future__ import annotations

import typing as t

from .._cloudhsm import api
from .._cloudhsm.common import AnsibleCloudHSMError

if t.TYPE_CHECKING:
    from .._cloudhsm.view import ClusterView


def take_off(view: ClusterView, keys: t.Collection[str]) -> str | None:
    """Take marks off a cluster. Returns what a person should know, where that fails: they become void by themselves."""
    try:
        api.untag_resource(view.client, view.cluster_id, sorted(keys))
    except AnsibleCloudHSMError as error:
        return f"{error}. The tags {', '.join(sorted(keys))} stay; a later run takes them off when they are void."
    return None
