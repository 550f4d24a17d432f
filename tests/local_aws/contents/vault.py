# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What is inside the HSMs of every cluster, and what backups keep of it."""

from __future__ import annotations

import copy
import json
import secrets
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import RefusedError
from .tokens import SOFTHSM, Token, TokenFiles
from .users import Login, User, Users


@dataclass
class Contents:
    """What the HSMs of one cluster hold; all HSMs of a cluster hold the same.

    Attributes:
        so_pin: PIN of the token's security officer, with whom CloudHSM has nothing to compare.
    """

    users: Users
    files: TokenFiles
    so_pin: str = field(default_factory=lambda: secrets.token_hex(16), repr=False)


@dataclass(frozen=True)
class Snapshot:
    """Contents as they were at a moment."""

    users: list[User]
    so_pin: str = field(repr=False)
    files: dict[str, str] = field(repr=False)


class Vault:
    """The contents of every cluster's HSMs and of every backup, by their ids.

    Not thread-safe: the service calls it under its lock.

    Args:
        folder: Where the tokens go; made when it is not there.
        module: SoftHSM's library; None: there are users and no keys.
    """

    def __init__(self, folder: Path, module: Path | None = SOFTHSM) -> None:
        # A client that reads the paths need not run in the same directory.
        self._folder = folder.absolute()
        self._module = module
        self._clusters: dict[str, Contents] = {}
        self._snapshots: dict[str, Snapshot] = {}

    def alive(self, cluster_id: str) -> bool:
        """True while the cluster's HSMs hold anything, be it only the users of a fresh HSM."""
        return cluster_id in self._clusters

    def is_activated(self, cluster_id: str) -> bool:
        """True when the cluster has HSMs whose admin has a password."""
        return self.alive(cluster_id) and self._clusters[cluster_id].users.activated

    def start_fresh(self, cluster_id: str) -> None:
        """Fill the first HSM of a cluster that was never activated.

        Raises:
            RefusedError: The cluster's HSMs hold something.
        """
        if self.alive(cluster_id):
            raise RefusedError(409, f"The HSMs of cluster {cluster_id} are in use.")
        files = self._files(cluster_id)
        files.make({})
        self._clusters[cluster_id] = Contents(Users.of_a_fresh_hsm(), files)

    def activate(self, cluster_id: str, password: str) -> None:
        """Set the admin's password for the first time.

        Raises:
            RefusedError: There is no HSM, or it has been done already.
            ValueError: The password's length is not allowed.
        """
        self._contents(cluster_id).users.activate(password)

    def erase(self, cluster_id: str) -> None:
        """Let the contents vanish with the last HSM, if there are any."""
        if self._clusters.pop(cluster_id, None):
            self._files(cluster_id).erase()

    def users(self, cluster_id: str) -> list[tuple[str, str, bool]]:
        """Return name, role and whether it is locked, of each user in the order of creation.

        Raises:
            RefusedError: There is no HSM.
        """
        return [(user.name, user.role, user.locked) for user in self._contents(cluster_id).users.members]

    def create_user(self, cluster_id: str, name: str, role: str, password: str) -> None:
        """Create a user; the first crypto user but `kmsuser` gets the token.

        Raises:
            RefusedError: There is no HSM, it is not activated, or the name is taken.
            ValueError: The name, the role or the password is not allowed.
        """
        contents = self._contents(cluster_id)
        user = contents.users.create(name, role, password)
        self._set_pin_of(contents, user, password)

    def delete_user(self, cluster_id: str, name: str) -> None:
        """Delete a user. The next crypto user gets the token with the next change of their password.

        Raises:
            RefusedError: There is no HSM, it is not activated, there is no such user, or they own keys.
        """
        contents = self._contents(cluster_id)
        user = contents.users.changeable(name)
        if user is contents.users.key_owner:
            if contents.files.holds_keys():
                raise RefusedError(409, f"The user {user.name} owns keys: delete the keys first.")
            self._close_token(contents)
        contents.users.members.remove(user)

    def change_password(self, cluster_id: str, name: str, password: str) -> None:
        """Change a user's password, and unlock them.

        Raises:
            RefusedError: There is no HSM, it is not activated, or there is no such user.
            ValueError: The password's length is not allowed.
        """
        contents = self._contents(cluster_id)
        user = contents.users.changeable(name)
        user.set_password(password)
        self._set_pin_of(contents, user, password)

    def login(self, cluster_id: str, name: str, password: str) -> Login:
        """Try to log in; the fifth failure in a row locks the user, and with them the token that is theirs."""
        if not self.alive(cluster_id):
            return Login.NO_HSM
        contents = self._clusters[cluster_id]
        user = contents.users.find(name)
        if user is None:
            return Login.NO_USER
        outcome = user.log_in(password)
        if outcome is Login.WRONG_PASSWORD and user.locked and user is contents.users.key_owner:
            self._close_token(contents)
        return outcome

    def token(self, cluster_id: str) -> Token:
        """Return where PKCS#11 finds the keys. The slot is empty until the first crypto user is created.

        The same paths hold for as long as the cluster lives, however often its HSMs go and come back.

        Raises:
            RefusedError: There is no HSM, or no SoftHSM.
        """
        contents = self._contents(cluster_id)
        if self._module is None:
            raise RefusedError(409, "SoftHSM is not installed, so there are no keys: install the package softhsm2.")
        return Token(contents.files.conf, self._module)

    def snapshot(self, cluster_id: str, backup_id: str) -> None:
        """Keep users, passwords and keys as they are now; session keys live in their client only.

        Raises:
            RefusedError: There is no HSM.
        """
        self._snapshots[backup_id] = self._snapshot(cluster_id)

    def has_snapshot(self, backup_id: str) -> bool:
        """True when there is something to restore."""
        return backup_id in self._snapshots

    def restore(self, backup_id: str, cluster_id: str) -> None:
        """Put what a backup keeps into a cluster's HSMs, in place of what they hold.

        Raises:
            RefusedError: There is no such backup.
        """
        self._fill(cluster_id, self._kept(backup_id))

    def copy_snapshot(self, backup_id: str, new_backup_id: str) -> None:
        """Keep the same under another id.

        Raises:
            RefusedError: There is no such backup.
        """
        self._snapshots[new_backup_id] = self._kept(backup_id)

    def forget_snapshot(self, backup_id: str) -> None:
        """Forget what a backup keeps, if anything."""
        self._snapshots.pop(backup_id, None)

    def reset(self) -> None:
        """Forget everything and remove every file."""
        for cluster_id in list(self._clusters):
            self.erase(cluster_id)
        self._snapshots.clear()

    def dump(self) -> bytes:
        """Return everything, keys included, for `load` in another process. Whoever can read it can use the keys."""
        clusters = {cluster_id: asdict(self._snapshot(cluster_id)) for cluster_id in self._clusters}
        snapshots = {backup_id: asdict(kept) for backup_id, kept in self._snapshots.items()}
        return json.dumps({"clusters": clusters, "snapshots": snapshots}).encode()

    def load(self, dumped: bytes) -> None:
        """Take over what `dump` returned, in place of everything here."""
        state = json.loads(dumped)
        self.reset()
        for cluster_id, values in state["clusters"].items():
            self._fill(cluster_id, _snapshot_of(values))
        self._snapshots = {backup_id: _snapshot_of(values) for backup_id, values in state["snapshots"].items()}

    def _files(self, cluster_id: str) -> TokenFiles:
        return TokenFiles(self._folder / cluster_id)

    def _contents(self, cluster_id: str) -> Contents:
        if not self.alive(cluster_id):
            raise RefusedError(409, f"Cluster {cluster_id} has no HSM: create one and wait until it is ACTIVE.")
        return self._clusters[cluster_id]

    def _kept(self, backup_id: str) -> Snapshot:
        if backup_id not in self._snapshots:
            raise RefusedError(404, f"Backup {backup_id} keeps nothing.")
        return self._snapshots[backup_id]

    def _snapshot(self, cluster_id: str) -> Snapshot:
        contents = self._contents(cluster_id)
        return Snapshot(copy.deepcopy(contents.users.members), contents.so_pin, contents.files.read())

    def _fill(self, cluster_id: str, kept: Snapshot) -> None:
        files = self._files(cluster_id)
        files.make(kept.files)
        self._clusters[cluster_id] = Contents(Users(copy.deepcopy(kept.users)), files, kept.so_pin)

    def _set_pin_of(self, contents: Contents, user: User, password: str) -> None:
        if self._module and user is contents.users.key_owner:
            contents.files.set_pin(self._module, contents.so_pin, f"{user.name}:{password}")

    def _close_token(self, contents: Contents) -> None:
        """Set a PIN that nobody knows."""
        if self._module:
            contents.files.set_pin(self._module, contents.so_pin, secrets.token_hex(16))


def _snapshot_of(values: dict) -> Snapshot:
    return Snapshot([User(**user) for user in values["users"]], values["so_pin"], values["files"])
