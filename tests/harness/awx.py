# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""What stands in for the API of AWX: objects with names, lists, secrets that are never shown, surveys, launches."""

from __future__ import annotations

import base64
import copy
import itertools
import json
import re
import secrets
import threading
import typing as t
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .awx_kinds import KINDS, kind_of_list
from .awx_rules import RefusalError, check_answers, check_injectors, check_prompts

if t.TYPE_CHECKING:
    from types import TracebackType

ENCRYPTED = "$encrypted$"
API = "/api/v2/"
# As AWX, which shows no more than 200 at once either.
PAGE = 25
_SECRETS_OF_NOTICES = ("token", "password", "account_token", "grafana_key", "aws_secret_access_key")
_LOOKUPS: dict[str, t.Callable[[str, str], bool]] = {
    "exact": lambda value, wanted: value == wanted,
    "in": lambda value, wanted: value in wanted.split(","),
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": lambda value, wanted: wanted in value,
}

_Object = dict[str, t.Any]


_TEMPLATES = ("job_templates", "workflow_job_templates", "projects", "inventory_sources")


class Awx:
    """An API that answers on 127.0.0.1 as long as the context lasts. There is one user, and one token of theirs."""

    username, password = "admin", "Passw0rd-of-the-administrator"

    def __init__(self) -> None:
        self.token = secrets.token_hex(15)
        self._tokens = {self.token}
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._objects: dict[str, dict[int, _Object]] = {kind: {} for kind in KINDS}
        self._lists: dict[tuple[str, int, str], list[int]] = {}
        self._surveys: dict[int, _Object] = {}
        self.writes: list[str] = []
        aws = [{"id": name, "label": name, "type": "string", "secret": name != "username"} for name in (
            "username", "password", "security_token",
        )]  # fmt: skip
        self.add("credential_types", {
            "name": "Amazon Web Services", "kind": "cloud", "managed": True, "namespace": "aws",
            "inputs": {"fields": aws, "required": ["username", "password"]},
            "injectors": {"env": {
                "AWS_ACCESS_KEY_ID": "{{ username }}",
                "AWS_SECRET_ACCESS_KEY": "{{ password }}",
                "AWS_SESSION_TOKEN": "{{ security_token }}",
            }},
        })  # fmt: skip

    def __enter__(self) -> Awx:
        handler = type("Handler", (_Handler,), {"awx": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, kind: str, fields: _Object) -> _Object:
        """Make an object by the hand of somebody else."""
        return self._create(kind, fields)

    def all(self, kind: str) -> list[_Object]:
        """Return the objects of a kind, with what is secret in them."""
        return [copy.deepcopy(each) for each in self._objects[kind].values()]

    def names(self) -> set[str]:
        """Return what there is, as "kind/name"."""
        return {f"{kind}/{each['name']}" for kind, found in self._objects.items() for each in found.values()}

    def get(self, kind: str, name: str) -> _Object:
        """Return an object by its name, the latest where organizations share it, with what is secret in it."""
        return [each for each in self.all(kind) if each["name"] == name][-1]

    def by_id(self, kind: str, number: int) -> _Object:
        """Return an object by its id, with what is secret in it."""
        return copy.deepcopy(self._objects[kind][number])

    def listed(self, kind: str, name: str, which: str) -> list[int]:
        """Return the ids in a list of an object."""
        return list(self._lists.get((kind, self.get(kind, name)["id"], which), []))

    def linked(self, kind: str, number: int, which: str) -> list[int]:
        """Return the ids in a list of an object that has no name."""
        return list(self._lists.get((kind, number, which), []))

    def amend(self, kind: str, number: int, fields: _Object) -> None:
        """Change an object by the hand of somebody else."""
        self._objects[kind][number] |= fields

    def link(self, kind: str, number: int, which: str, ids: list[int]) -> None:
        """Change a list of an object by the hand of somebody else."""
        self._lists[kind, number, which] = ids

    def delete(self, kind: str, number: int) -> None:
        """Delete an object by the hand of somebody else."""
        self._delete(kind, number)

    def survey(self, template: str, kind: str = "job_templates") -> list[_Object]:
        """Return the questions of a template."""
        return t.cast("list[_Object]", self._surveys.get(self.get(kind, template)["id"], {}).get("spec", []))

    def answer(self, method: str, target: str, body: t.Any, authorization: str) -> tuple[int, t.Any]:
        """Answer a request."""
        url = urllib.parse.urlsplit(target)
        path = [part for part in url.path.removeprefix(API).split("/") if part]
        with self._lock:
            try:
                if not url.path.startswith(API) or not path:
                    raise RefusalError(404, {"detail": "Not found."})
                if path[0] == "tokens":
                    return self._token(method, authorization)
                if authorization not in {f"Bearer {token}" for token in self._tokens}:
                    raise RefusalError(401, {"detail": "Authentication credentials were not provided."})
                if method != "GET":
                    self.writes.append(f"{method} {url.path}")
                return self._route(method, path, dict(urllib.parse.parse_qsl(url.query)), body)
            except RefusalError as refusal:
                return refusal.status, refusal.payload

    def _token(self, method: str, authorization: str) -> tuple[int, t.Any]:
        known = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if authorization != f"Basic {known}":
            raise RefusalError(401, {"detail": "Invalid username/password."})
        if method == "DELETE":
            return 204, None
        token = secrets.token_hex(15)
        self._tokens.add(token)
        return 201, {"id": next(self._ids), "token": token}

    def _route(self, method: str, path: list[str], query: dict[str, str], body: t.Any) -> tuple[int, t.Any]:
        kind = path[0]
        if kind not in (*KINDS, "unified_job_templates"):
            raise RefusalError(404, {"detail": "Not found."})
        if len(path) == 1:
            return (
                (201, self._shown(kind, self._create(kind, body)))
                if method == "POST"
                else (200, self._page(kind, query))
            )
        number = int(path[1])
        if number not in self._objects[kind]:
            raise RefusalError(404, {"detail": "Not found."})
        if len(path) == 2:
            return self._one(method, kind, number, body)
        return self._related(method, kind, number, path[2], query, body)

    def _one(self, method: str, kind: str, number: int, body: t.Any) -> tuple[int, t.Any]:
        if method == "DELETE":
            self._delete(kind, number)
            return (202 if kind == "inventories" else 204), None
        if method == "PATCH":
            changed = {**self._objects[kind][number], **self._known(kind, body)}
            self._keep_secrets(self._objects[kind][number], changed)
            self._check(kind, changed, number)
            self._objects[kind][number] = changed
        return 200, self._shown(kind, self._objects[kind][number])

    def _related(
        self, method: str, kind: str, number: int, which: str, query: dict[str, str], body: t.Any
    ) -> tuple[int, t.Any]:
        if which == "survey_spec":
            if method == "POST":
                if {"name", "description", "spec"} - set(body):
                    raise RefusalError(400, {"error": "'name', 'description' and 'spec' are needed."})
                self._surveys[number] = body
            return 200, self._surveys.get(number, {})
        if which == "launch" and method == "POST":
            return 201, self._shown("jobs", self.launch(number, body))
        if which not in KINDS[kind].lists:
            raise RefusalError(404, {"detail": "Not found."})
        listed = self._lists.setdefault((kind, number, which), [])
        of = kind_of_list(which)
        if method == "GET":
            return 200, self._page(of, query, listed)
        if body.get("disassociate"):
            listed.remove(body["id"])
        elif body["id"] not in self._objects[of]:
            raise RefusalError(400, {"detail": "There is no such object."})
        else:
            listed.append(body["id"])
        return 204, None

    def launch(self, template: int, body: _Object) -> _Object:
        """Begin a job, whose variables are what AWX makes of template, survey and answers; nobody runs it."""
        found = self._objects["job_templates"][template]
        answers = body.get("extra_vars") or {}
        answers = json.loads(answers) if isinstance(answers, str) else answers
        spec = self._surveys.get(template, {}).get("spec", []) if found["survey_enabled"] else []
        check_answers(spec, answers)
        check_prompts(found, spec, body, answers)
        defaults = {each["variable"]: each["default"] for each in spec if each.get("default") not in (None, "")}
        variables = {**json.loads(found["extra_vars"] or "{}"), **defaults, **answers}
        return self._create("jobs", {
            "name": found["name"], "job_template": template, "extra_vars": json.dumps(variables),
            "job_type": body.get("job_type", found["job_type"]),
        })  # fmt: skip

    def _create(self, kind: str, body: _Object) -> _Object:
        number = next(self._ids)
        made = {"description": "", "name": "", **copy.deepcopy(KINDS[kind].fields), **self._known(kind, body)}
        made |= {"id": number, "type": KINDS[kind].type, "url": f"{API}{kind}/{number}/"}
        if made.get("project") in self._objects["projects"] and "organization" in made:
            # As AWX has it, whatever is asked for.
            made["organization"] = self._objects["projects"][made["project"]]["organization"]
        self._check(kind, made, number)
        self._objects[kind][number] = made
        if kind == "projects":
            self._create("project_updates", {"name": made["name"], "project": number})
        return made

    def _known(self, kind: str, body: _Object) -> _Object:
        """What a kind knows of a request; AWX takes no notice of the rest. Null is nothing for a text."""
        fields = {"name": "", "description": "", **KINDS[kind].fields}
        return {
            name: "" if value is None and fields[name] == "" else value
            for name, value in body.items()
            if name in fields
        }

    def _check(self, kind: str, made: _Object, number: int) -> None:
        missing = [name for name in KINDS[kind].required if made[name] in (None, "")]
        if missing:
            raise RefusalError(400, {name: ["This field is required."] for name in missing})
        same = ("name", *KINDS[kind].unique)
        if kind not in ("jobs", "project_updates") and any(
            all(each[name] == made[name] for name in same if name in made) and each["id"] != number
            for each in self._objects[kind].values()
        ):
            raise RefusalError(400, {"__all__": [f"{KINDS[kind].type} with these {same} already exists."]})
        if kind == "credential_types":
            before = self._objects[kind].get(number, made)
            if before["inputs"] != made["inputs"] and self._is_used(number):
                raise RefusalError(
                    403, {"detail": "Modifications to inputs are not allowed for credential types in use."}
                )
            check_injectors(made)
        elif kind == "credentials":
            fields = self._objects["credential_types"][made["credential_type"]]["inputs"]
            unknown = set(made["inputs"]) - {each["id"] for each in fields["fields"]}
            missing = [name for name in fields.get("required", []) if not made["inputs"].get(name)]
            if unknown or missing:
                raise RefusalError(400, {"inputs": f"unknown: {sorted(unknown)}, missing: {missing}"})
        elif kind == "schedules":
            self._check_schedule(made)

    def _check_schedule(self, made: _Object) -> None:
        if not re.fullmatch(r"DTSTART:\d{8}T\d{6}Z RRULE:FREQ=(?!SECONDLY)[A-Z]+;INTERVAL=\d+(;.*)?", made["rrule"]):
            raise RefusalError(400, {"rrule": ["is no rule"]})
        template = self._objects["job_templates"].get(made["unified_job_template"])
        if template:
            spec = self._surveys.get(template["id"], {}).get("spec", []) if template["survey_enabled"] else []
            check_answers(spec, made["extra_data"])
            check_prompts(template, spec, {}, made["extra_data"])

    def _keep_secrets(self, old: _Object, new: _Object) -> None:
        """What was shown as encrypted and comes back so is what it was."""
        for name in ("inputs", "notification_configuration"):
            if name in new and new["type"] != "credential_type":
                new[name] = {
                    key: old[name].get(key, "") if value == ENCRYPTED else value for key, value in new[name].items()
                }

    def _delete(self, kind: str, number: int) -> None:
        if kind == "credential_types" and self._is_used(number):
            raise RefusalError(403, {"detail": "Credential types that are in use cannot be deleted."})
        for part, by in KINDS[kind].parts:
            for each in [each["id"] for each in self._objects[part].values() if each[by] == number]:
                self._delete(part, each)
        for each in self._objects["job_templates"].values():
            # What has used it lacks it.
            each |= {name: None for name in ("project", "inventory", "execution_environment") if each[name] == number}
        del self._objects[kind][number]
        self._surveys.pop(number, None)
        for (owner, of, which), listed in list(self._lists.items()):
            if owner == kind and of == number:
                del self._lists[owner, of, which]
            elif kind_of_list(which) == kind and number in listed:
                listed.remove(number)

    def _is_used(self, credential_type: int) -> bool:
        return any(each["credential_type"] == credential_type for each in self._objects["credentials"].values())

    def _shown(self, kind: str, made: _Object) -> _Object:
        """An object as the API shows it."""
        shown = copy.deepcopy(made)
        if kind == "credentials":
            fields = self._objects["credential_types"][made["credential_type"]]["inputs"]["fields"]
            hidden = [each["id"] for each in fields if each.get("secret")]
            shown["inputs"] = {
                key: ENCRYPTED if key in hidden and value else value for key, value in made["inputs"].items()
            }
        if kind == "notification_templates":
            shown["notification_configuration"] = {
                key: ENCRYPTED if key in _SECRETS_OF_NOTICES and value else value
                for key, value in made["notification_configuration"].items()
            }
        shown["related"] = {
            name: f"{made['url']}{name}/" for name in ("survey_spec", "launch", "update", *KINDS[kind].lists)
        }
        shown["summary_fields"] = {}
        if kind == "organizations":
            shown["summary_fields"]["related_field_counts"] = {
                which: len(self._lists.get((kind, made["id"], which), [])) for which in ("users", "admins")
            }
        if kind == "projects":
            update = next(each for each in self._objects["project_updates"].values() if each["project"] == made["id"])
            shown["summary_fields"]["current_update"] = {"id": update["id"], "status": update["status"]}
        return shown

    def _page(self, kind: str, query: dict[str, str], among: t.Container[int] | None = None) -> _Object:
        query = dict(query)
        number, size = int(query.pop("page", "1")), min(int(query.pop("page_size", str(PAGE))), 200)
        query.pop("order_by", None)
        kinds = _TEMPLATES if kind == "unified_job_templates" else (kind,)
        found = [
            self._shown(of, each)
            for of in kinds
            for each in self._objects[of].values()
            if (among is None or each["id"] in among) and _matches(each, query)
        ]
        following = urllib.parse.urlencode({**query, "page": number + 1, "page_size": size})
        return {
            "count": len(found),
            "next": f"{API}{kind}/?{following}" if len(found) > number * size else None,
            "previous": None,
            "results": found[(number - 1) * size : number * size],
        }


def _matches(made: _Object, query: dict[str, str]) -> bool:
    results: dict[bool, list[bool]] = {True: [], False: []}
    for name, wanted in query.items():
        either = name.startswith("or__")
        of, _separator, lookup = name.removeprefix("or__").partition("__")
        if (lookup or "exact") not in _LOOKUPS:
            raise RefusalError(400, {"detail": f"{name} is no lookup."})
        value = made.get(of)
        results[either].append(_LOOKUPS[lookup or "exact"]("" if value is None else str(value), wanted))
    return all(results[False]) and (not results[True] or any(results[True]))


class _Handler(BaseHTTPRequestHandler):
    awx: Awx

    def _do(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        status, payload = self.awx.answer(self.command, self.path, body, self.headers.get("Authorization", ""))
        content = b"" if payload is None else json.dumps(payload).encode()
        self.send_response(status)
        self.send_header("X-API-Product-Name", "AWX")
        self.send_header("X-API-Product-Version", "24.6.1")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PATCH = do_DELETE = _do  # noqa: N815 - the names that http.server has for them

    def log_message(self, *_arguments: t.Any) -> None:
        """Say nothing."""
