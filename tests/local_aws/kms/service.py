# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The KMS service over HTTP: every request passes here, one at a time."""

from __future__ import annotations

import copy
import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

from werkzeug.test import run_wsgi_app
from werkzeug.wrappers import Request, Response

from ..knobs import Knobs
from ..validation import Model
from . import asymmetric, guard, imports, key_stores, keys
from .clusters import Clusters
from .connections import connect_custom_key_store, disconnect_custom_key_store
from .errors import KmsError, invalid
from .state import Context, Keys, State, Store

TARGET_PREFIX = "TrentService."
CONTENT_TYPE = "application/x-amz-json-1.1"

OPERATIONS: dict[str, Callable[[Context, dict[str, Any]], dict[str, Any]]] = {
    "ConnectCustomKeyStore": connect_custom_key_store,
    "CreateCustomKeyStore": key_stores.create_custom_key_store,
    "DeleteCustomKeyStore": key_stores.delete_custom_key_store,
    "DeleteImportedKeyMaterial": imports.delete_imported_key_material,
    "DescribeCustomKeyStores": key_stores.describe_custom_key_stores,
    "DisconnectCustomKeyStore": disconnect_custom_key_store,
    "GetParametersForImport": imports.get_parameters_for_import,
    "ImportKeyMaterial": imports.import_key_material,
    "UpdateCustomKeyStore": key_stores.update_custom_key_store,
}
# Operations of moto whose effect we follow or whose answer we complete.
FOLLOWED: dict[str, Callable[[Context, dict[str, Any], dict[str, Any]], None]] = {
    "CancelKeyDeletion": keys.deletion_cancelled,
    "CreateKey": asymmetric.key_created,
    "DescribeKey": keys.key_described,
    "GetPublicKey": asymmetric.public_key_given,
    "ScheduleKeyDeletion": keys.deletion_scheduled,
}

log = logging.getLogger(__name__)


class Clock(Protocol):
    """Virtual time."""

    def now(self) -> float:
        """Return the virtual time in seconds since the epoch."""


@dataclass(frozen=True)
class Answer:
    """An answer over HTTP."""

    status: int
    content: bytes
    content_type: str = CONTENT_TYPE


def is_kms(environ: dict[str, Any]) -> bool:
    """True for a request that is for KMS."""
    return environ.get("HTTP_X_AMZ_TARGET", "").startswith(TARGET_PREFIX)


class Kms:
    """KMS in every account and Region, as a WSGI application.

    It carries out what moto lacks, and hands everything else to moto if the state of the key allows it. One lock goes
    around every request, so that what it looked at is still true when it acts.

    Args:
        clock: Where the time comes from.
        knobs: Gives the settings in force.
        clusters: CloudHSM.
        keys: Gives moto's keys of an account and Region.
        account_of: Gives the account of an access key id and an `x-moto-account-id` header.
        moto: moto's WSGI application.
    """

    def __init__(
        self,
        clock: Clock,
        knobs: Callable[[], Knobs],
        clusters: Clusters,
        keys: Callable[[str, str], Keys],
        account_of: Callable[[str, str | None], str],
        moto: Callable[..., Iterable[bytes]],
    ) -> None:
        self._clock = clock
        self._knobs = knobs
        self._clusters = clusters
        self._keys = keys
        self._account_of = account_of
        self._moto = moto
        self._model = Model("kms", invalid)
        self._state: State = {}
        self._lock = threading.RLock()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Serve no request meanwhile.

        Requests ask CloudHSM while they hold this. Whoever needs both at rest pauses KMS first, or two wait for each
        other for ever.
        """
        with self._lock:
            yield

    @property
    def state(self) -> State:
        """A copy of everything but moto's keys, which can be pickled; set it to go on from there."""
        with self._lock:
            return copy.deepcopy(self._state)

    @state.setter
    def state(self, state: State) -> None:
        with self._lock:
            self._state = copy.deepcopy(state)

    def reset(self) -> None:
        """Forget every key store and what is known of moto's keys."""
        self.state = {}

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request."""
        request = Request(environ)
        try:
            with self._lock:
                answer = self._serve(request)
        except KmsError as error:
            answer = _json({"__type": error.code, "message": error.message}, error.status)
        except Exception as error:
            log.exception("KMS request failed")
            answer = _json({"__type": "InternalFailure", "message": f"Fault of the local AWS: {error!r}"}, 500)
        response = Response(answer.content, answer.status, content_type=answer.content_type)
        response.headers["x-amzn-RequestId"] = str(uuid.uuid4())
        return response(environ, start_response)

    def _serve(self, request: Request) -> Answer:
        operation = request.headers["X-Amz-Target"].removeprefix(TARGET_PREFIX)
        if operation not in self._model.operations:
            raise KmsError("UnknownOperationException", f"The operation {operation} does not exist.")
        ctx = self._context(request)
        body = request.get_data()
        try:
            sent = json.loads(body or b"{}")
        except ValueError:
            raise KmsError("SerializationException", "The request is not JSON.") from None
        parameters = self._model.check(operation, sent)
        keys.settle(ctx)
        if operation in OPERATIONS:
            return _json(OPERATIONS[operation](ctx, parameters))
        guard.check(ctx, operation, parameters)
        if asymmetric.is_for_rsa(ctx, operation, parameters):
            return _json(asymmetric.encrypt_or_decrypt(ctx, operation, parameters))
        if operation == "CreateKey":
            # moto leaves out what is not given; KMS has a default (documented).
            body = json.dumps({"KeyUsage": "ENCRYPT_DECRYPT"} | parameters).encode()
        answer = self._ask_moto(request, body)
        if answer.status != 200 or operation not in FOLLOWED:
            return answer
        content = json.loads(answer.content)
        FOLLOWED[operation](ctx, parameters, content)
        return _json(content)

    def _context(self, request: Request) -> Context:
        credential = request.authorization.get("Credential") if request.authorization else None
        if not credential or credential.count("/") != 4:
            raise KmsError("MissingAuthenticationTokenException", "Missing Authentication Token")
        access_key, _date, region, _service, _end = credential.split("/")
        account = self._account_of(access_key, request.headers.get("X-Moto-Account-Id"))
        store = self._state.setdefault((account, region), Store())
        moto_keys = self._keys(account, region)
        return Context(account, region, self._clock.now(), self._knobs(), self._clusters, moto_keys, store)

    def _ask_moto(self, request: Request, body: bytes) -> Answer:
        environ = request.environ | {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        content, status, headers = run_wsgi_app(self._moto, environ, buffered=True)
        return Answer(int(status.split()[0]), b"".join(content), headers.get("Content-Type", CONTENT_TYPE))


def _json(body: dict[str, Any], status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode())
