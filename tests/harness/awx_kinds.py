# Copyright: Contributors to the hsmops.cloudhsm project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)

"""The kinds of objects that AWX has, as far as they are used here."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

_NOTICES = tuple(f"notification_templates_{when}" for when in ("started", "success", "error", "approvals"))


@dataclass(frozen=True)
class Kind:
    """A kind of objects.

    Attributes:
        type: What AWX calls it.
        fields: Its fields besides the common ones, with their defaults.
        required: Those that must be given.
        unique: What two of them must not share besides their name.
        lists: The lists of others that it has.
        parts: Kinds whose objects go with it, with the field by which they name it.
    """

    type: str
    fields: dict[str, t.Any] = field(default_factory=dict)
    required: tuple[str, ...] = ("name",)
    unique: tuple[str, ...] = ("organization",)
    lists: tuple[str, ...] = ()
    parts: tuple[tuple[str, str], ...] = ()


_ORGANIZED = {"organization": None}
_PROMPTS = {"inventory": None, "job_type": "", "limit": "", "extra_data": {}, "unified_job_template": None}
KINDS = {
    "organizations": Kind(
        "organization", {"max_hosts": 0, "default_environment": None}, unique=(), lists=(*_NOTICES, "galaxy_credentials"),
        parts=tuple((kind, "organization") for kind in (
            "workflow_job_templates", "projects", "inventories", "credentials", "notification_templates",
        )),
    ),
    "execution_environments": Kind(
        "execution_environment", {**_ORGANIZED, "image": "", "pull": "", "credential": None, "managed": False},
        required=("name", "image"), unique=(),
    ),
    "projects": Kind(
        "project",
        {
            **_ORGANIZED, "scm_type": "", "scm_url": "", "scm_branch": "", "scm_refspec": "", "credential": None,
            "local_path": "", "scm_clean": False, "scm_update_on_launch": False, "scm_update_cache_timeout": 0,
            "allow_override": False, "default_environment": None, "scm_revision": "",
        },
        lists=_NOTICES[:3],
        parts=(("project_updates", "project"),),
    ),
    "project_updates": Kind("project_update", {"project": None, "status": "successful", "finished": "now", "failed": False}),
    "credential_types": Kind(
        "credential_type", {"kind": "", "inputs": {}, "injectors": {}, "managed": False, "namespace": None},
        required=("name", "kind"), unique=("kind",),
    ),
    "credentials": Kind(
        "credential", {**_ORGANIZED, "credential_type": None, "inputs": {}},
        required=("name", "credential_type"), unique=("organization", "credential_type"),
    ),
    "notification_templates": Kind(
        "notification_template",
        {**_ORGANIZED, "notification_type": "", "notification_configuration": {}, "messages": {}},
        required=("name", "organization", "notification_type"),
    ),
    "inventories": Kind(
        "inventory", {**_ORGANIZED, "kind": "", "host_filter": None, "variables": ""},
        required=("name", "organization"), parts=(("hosts", "inventory"), ("inventory_sources", "inventory")),
    ),
    "inventory_sources": Kind(
        "inventory_source",
        {
            "inventory": None, "source": "", "source_path": "", "source_project": None, "overwrite": False,
            "overwrite_vars": False, "update_on_launch": False, "execution_environment": None, "credential": None,
        },
        required=("name", "inventory", "source"), unique=("inventory",), lists=_NOTICES[:3],
    ),
    "hosts": Kind(
        "host", {"inventory": None, "enabled": True, "variables": ""}, required=("name", "inventory"), unique=("inventory",)
    ),
    "job_templates": Kind(
        "job_template",
        {
            **_ORGANIZED, "job_type": "run", "inventory": None, "project": None, "playbook": "", "execution_environment": None,
            "extra_vars": "", "verbosity": 0, "survey_enabled": False, "ask_variables_on_launch": False,
            "ask_job_type_on_launch": False, "ask_scm_branch_on_launch": False, "ask_diff_mode_on_launch": False,
            "ask_limit_on_launch": False, "ask_tags_on_launch": False, "ask_skip_tags_on_launch": False,
            "ask_verbosity_on_launch": False, "ask_inventory_on_launch": False, "ask_credential_on_launch": False,
            "allow_simultaneous": False, "diff_mode": False, "become_enabled": False, "timeout": 0,
        },
        required=("name", "project", "playbook"),
        lists=("credentials", "labels", "instance_groups", *_NOTICES[:3]),
        parts=(("schedules", "unified_job_template"),),
    ),
    "schedules": Kind(
        "schedule", {**_PROMPTS, "rrule": "", "enabled": True}, required=("name", "rrule", "unified_job_template"),
        unique=("unified_job_template",), lists=("credentials", "labels", "instance_groups"),
    ),
    "workflow_job_templates": Kind(
        "workflow_job_template",
        {
            **_ORGANIZED, "inventory": None, "extra_vars": "", "survey_enabled": False, "ask_variables_on_launch": False,
            "allow_simultaneous": False, "limit": "", "scm_branch": "",
        },
        lists=("labels", *_NOTICES),
        parts=(("workflow_job_template_nodes", "workflow_job_template"), ("schedules", "unified_job_template")),
    ),
    "workflow_job_template_nodes": Kind(
        "workflow_job_template_node",
        {**_PROMPTS, "identifier": "", "workflow_job_template": None, "all_parents_must_converge": False},
        required=("workflow_job_template",), unique=("identifier", "workflow_job_template"),
        lists=("success_nodes", "failure_nodes", "always_nodes", "credentials", "labels", "instance_groups"),
    ),
    "jobs": Kind("job", {"job_template": None, "status": "pending", "extra_vars": "", "job_type": "run", "finished": None}),
    "teams": Kind("team", _ORGANIZED),
    "labels": Kind("label", _ORGANIZED),
    "instance_groups": Kind("instance_group"),
}  # fmt: skip


def kind_of_list(which: str) -> str:
    if which.endswith("_nodes"):
        return "workflow_job_template_nodes"
    if which == "galaxy_credentials":
        return "credentials"
    return "notification_templates" if which.startswith("notification_templates") else which
