# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What an HSM, or the way to it, answers with when it does not do as asked."""

from __future__ import annotations


class RefusedError(Exception):
    """A request that cannot be served.

    Attributes:
        status: HTTP status that says so: 404 when what it names is unknown, 409 when the state does not allow it.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
