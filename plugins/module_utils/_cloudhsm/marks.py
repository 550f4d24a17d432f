# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

# This module util is PRIVATE to the collection. It can have breaking changes at any time.

"""Marks: tags of a cluster by which those who are about to delete or create an HSM say so. Pure.

A mark belongs to its token. DescribeClusters shows the marks in the same answer as the HSMs, so whoever reads the one has
read the other.
"""

from __future__ import annotations

import re
import typing as t
from dataclasses import dataclass

from .plan import PlanError

DOOMED_PREFIX = "hsmops:doomed/"
CREATING_PREFIX = "hsmops:creating/"
PROTECTED_TAG = "hsmops:protected"

# AWS refuses a signature that is more than 5 minutes old, and some services one of more than 15.
SIGNATURE_LIFE = 900
MOST_TAGS = 50

_DEADLINE = re.compile(r"[0-9]{1,15}")


@dataclass(frozen=True)
class Mark:
    """One mark.

    Attributes:
        key: The key of the tag.
        token: Whose it is.
        hsm_id: The HSM that is about to be deleted; empty in the mark of a creation.
        deadline: Until when that may be asked for, in unix seconds of AWS's clock; None where it cannot be read.
    """

    key: str
    token: str
    hsm_id: str = ""
    deadline: float | None = None

    def is_void(self, now: float) -> bool:
        """Say whether nothing can come of it any more: what was signed in time has lost its validity since.

        Args:
            now: Unix seconds of AWS's own clock.
        """
        return self.deadline is not None and now > self.deadline + SIGNATURE_LIFE

    def __str__(self) -> str:
        what = f"deletion of {self.hsm_id}" if self.hsm_id else "creation"
        return f"{what} announced by {self.token}"


def read_marks(tags: t.Mapping[str, str]) -> tuple[Mark, ...]:
    """Find the marks among the tags of a cluster."""
    marks = []
    for key, value in sorted(tags.items()):
        deadline = float(value) if _DEADLINE.fullmatch(value) else None
        if key.startswith(DOOMED_PREFIX):
            token, _slash, hsm_id = key.removeprefix(DOOMED_PREFIX).partition("/")
            marks.append(Mark(key, token, hsm_id, deadline))
        elif key.startswith(CREATING_PREFIX):
            marks.append(Mark(key, key.removeprefix(CREATING_PREFIX), "", deadline))
    return tuple(marks)


def is_protected(tags: t.Mapping[str, str]) -> bool:
    """Say whether a cluster has the tag that keeps its HSMs. A value that is not understood keeps them, too."""
    return tags.get(PROTECTED_TAG, "false").strip().lower() not in ("false", "no", "off", "0")


def doomed_tags(token: str, hsm_ids: t.Iterable[str], deadline: float) -> dict[str, str]:
    """Make the tags that announce deletions."""
    return {f"{DOOMED_PREFIX}{token}/{hsm_id}": f"{deadline:.0f}" for hsm_id in hsm_ids}


def creating_tags(token: str, deadline: float) -> dict[str, str]:
    """Make the tag that announces a creation."""
    return {f"{CREATING_PREFIX}{token}": f"{deadline:.0f}"}


def check_room(cluster_id: str, tags: t.Mapping[str, str], more: t.Mapping[str, str]) -> None:
    """Refuse what would not fit beside the tags that a cluster has.

    Raises:
        PlanError: It would have more than 50.
    """
    count = len({*tags, *more})
    if count > MOST_TAGS:
        raise PlanError(
            "cluster_id",
            f"cluster {cluster_id} has {len(tags)} tags, and AWS allows {MOST_TAGS}: there is no room for the "
            f"{len(more)} that announce what is about to be done. Remove some of its tags.",
        )
