"""The page docs/settings.md, generated from the settings of client, worker and gateway.

`make docs` writes it: `python -m tests.support.settings_page`. A test compares the page with the
models, so a new setting needs a description and a place in `GROUPS`.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from sentq.gateway.settings import GatewaySettings
from sentq.settings import LayeredSettings, Settings
from sentq.webhooks.settings import WebhookSettings
from sentq_worker.settings import HubSettings, ModelSettings, WorkerSettings

__all__ = ["GROUPS", "PAGE", "Group", "MissingDescription", "names", "render"]

PAGE: Final = Path(__file__).parents[2] / "docs" / "settings.md"

_INTRODUCTION: Final = """\
# Settings

Generated from the pydantic models by `make docs`; do not edit.

A setting is taken from the first of these places that has it: a command's option, an environment
variable, the TOML file (`--config` or `SENTQ_CONFIG`), the default. An unknown key is
refused, and the error names the nearest known one. In the environment, tables are JSON:
`SENTQ_WORKER_LABELS='{"LABEL_0": "negative"}'`.

One file serves client, worker and gateway. The client reads the top level; the worker also reads
`[worker]` and `[worker.hub]`, the gateway `[gateway]`, and what delivers webhooks `[webhooks]`:

```toml
result_ttl_s = 3600

[worker]
device = "cpu"

[worker.hub]
calls_per_day = 10000

[gateway]
max_wait_s = 30
```
"""

_HEAD: Final = "| Setting | Type | Default | Meaning |\n|---|---|---|---|"


class MissingDescription(Exception):
    """A setting has no description, or no place in `GROUPS`."""


@dataclass(frozen=True, slots=True)
class Group:
    """Settings that a reader looks for together."""

    title: str
    model: type[LayeredSettings]
    keys: Sequence[str]


GROUPS: Final = (
    Group(
        "Redis", Settings, ("broker_url", "result_url", "redis_password_file", "transport_options")
    ),
    Group("Encryption", Settings, ("encryption_keys", "encryption_keys_file")),
    Group("Encryption in a worker", WorkerSettings, ("require_encryption", "encrypt_results")),
    Group(
        "TLS",
        Settings,
        ("tls_ca_file", "tls_cert_file", "tls_key_file", "tls_insecure_skip_verify"),
    ),
    Group(
        "Queues",
        Settings,
        (
            "queue",
            "bulk_queue",
            "key_namespace",
            "max_queued_jobs",
            "max_queued_bytes",
            "max_eta_s",
        ),
    ),
    Group(
        "Time limits",
        Settings,
        (
            "result_ttl_s",
            "dead_letter_ttl_s",
            "visibility_timeout_s",
            "connect_timeout_s",
            "socket_timeout_s",
        ),
    ),
    Group(
        "Size limits",
        Settings,
        ("texts_per_job", "chars_per_text", "bytes_per_message", "dead_letter_max_bytes"),
    ),
    Group(
        "Model and device",
        WorkerSettings,
        ("model", "revision", "device", "dtype", "keep_trials", "labels"),
    ),
    Group("Several processes", WorkerSettings, ("devices", "processes", "restart_limit")),
    Group(
        "Computation",
        WorkerSettings,
        (
            "threads",
            "batch_tokens",
            "tokens_per_job",
            "window_tokens",
            "window_overlap_tokens",
            "window_join",
            "clean",
        ),
    ),
    Group("Several models", WorkerSettings, ("models", "max_model_bytes")),
    Group(
        "Languages",
        WorkerSettings,
        ("languages", "on_other_language", "min_language_confidence"),
    ),
    Group(
        "What a worker obeys",
        WorkerSettings,
        ("follow_queues", "follow_tasks", "follow_routes", "remote_control"),
    ),
    Group(
        "Jobs with an eta",
        WorkerSettings,
        ("max_eta_s", "max_scheduled_jobs", "max_scheduled_bytes"),
    ),
    Group("Webhooks: signatures", WebhookSettings, ("secrets", "secrets_file")),
    Group("Webhooks: receivers", WebhookSettings, ("hosts", "private_networks", "tls_ca_file")),
    Group(
        "Webhooks: limits",
        WebhookSettings,
        (
            *("timeout_s", "lifetime_s", "in_flight", "in_flight_per_host"),
            *("max_waiting", "max_dead"),
        ),
    ),
    Group("Logs", Settings, ("log_format",)),
    Group("Prediction cache", WorkerSettings, ("cache_secret", "cache_max_entries", "cache_ttl_s")),
    Group(
        "Life of a worker",
        WorkerSettings,
        (
            "name",
            "require_same_model",
            "prefetch_jobs",
            "maxmemory_margin",
            "yield_after_s",
            "start_wait_s",
            "shutdown_grace_s",
            "batch_limit_s",
            "loop_limit_s",
            "idle_poll_s",
        ),
    ),
    Group("Metrics and probes", WorkerSettings, ("metrics_port", "metrics_host")),
    Group("Providers", WorkerSettings, ("provider", "queue_providers")),
    Group(
        "The Hub: where calls go",
        HubSettings,
        ("model", "endpoint", "router", "token_file", "bill_to"),
    ),
    Group(
        "The Hub: scores",
        HubSettings,
        ("labels", "multi_label", "function_to_apply", "window_chars"),
    ),
    Group(
        "The Hub: time limits and retries",
        HubSettings,
        ("in_flight", "call_timeout_s", "total_timeout_s", "attempts", "retry_after_limit_s"),
    ),
    Group(
        "The Hub: budget",
        HubSettings,
        (
            "calls_per_day",
            "chars_per_day",
            "calls_per_month",
            "chars_per_month",
            "on_budget_exhausted",
            "payment_pause_s",
        ),
    ),
    Group(
        "The Hub: circuit breakers and fallback",
        HubSettings,
        ("breaker_failures", "probe_interval_s", "backlog_limit_s"),
    ),
    Group(
        "The gateway",
        GatewaySettings,
        (
            "host",
            "port",
            "cors_origins",
            "console_shows_texts",
            "delivers_webhooks",
            "max_connections",
            "shutdown_grace_s",
        ),
    ),
    Group(
        "The gateway: what a request may take",
        GatewaySettings,
        ("default_wait_s", "max_wait_s", "heartbeat_s", "max_body_bytes", "body_timeout_s"),
    ),
)


def render() -> str:
    """Return the page.

    Raises:
        MissingDescription: A setting is not described, or is in no group.
    """
    _check_groups()
    return "\n".join([_INTRODUCTION, *map(_section, GROUPS), _models_section()])


def names() -> set[str]:
    """Return all settings by their TOML keys, tables included: `worker.hub.model`."""
    return {_key(group.model, key) for group in GROUPS for key in group.keys}


def _check_groups() -> None:
    for model in (Settings, WebhookSettings, WorkerSettings, HubSettings, GatewaySettings):
        grouped = [key for group in GROUPS if group.model is model for key in group.keys]
        if sorted(grouped) != sorted(model.model_fields):
            odd = sorted(set(grouped) ^ set(model.model_fields)) or "a key that stands twice"
            raise MissingDescription(f"{model.__name__}: correct GROUPS for {odd}")
        for key, field in model.model_fields.items():
            if not field.description:
                raise MissingDescription(f"{model.__name__}.{key} has no description")
    for key, field in ModelSettings.model_fields.items():
        if not field.description:
            raise MissingDescription(f"ModelSettings.{key} has no description")


def _section(group: Group) -> str:
    rows = "".join(f"{row}\n" for row in _rows(group))
    return f"## {group.title}\n\n{_HEAD}\n{rows}"


def _models_section() -> str:
    """Return the table of the settings of each further model."""
    rows = "".join(
        f"| `{name}` | {_type_of(field)} | {_default_of(field)} | {field.description} |\n"
        for name, field in ModelSettings.model_fields.items()
    )
    return f"## A table `[worker.models.NAME]`\n\n{_HEAD}\n{rows}"


def _rows(group: Group) -> Iterator[str]:
    for key in group.keys:
        field = group.model.model_fields[key]
        variable = f"{group.model.model_config['env_prefix']}{key.upper()}"
        cells = (
            f"`{_key(group.model, key)}`<br>`{variable}`",
            _type_of(field),
            _default_of(field),
            field.description or "",
        )
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _key(model: type[LayeredSettings], key: str) -> str:
    return f"{model.toml_table}.{key}" if model.toml_table else key


def _type_of(field: FieldInfo) -> str:
    annotation = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {'secret ' if SecretStr in get_args(annotation) else ''}strings"
    if get_origin(annotation) is dict:
        return "table"
    words = {bool: "boolean", int: "integer", float: "number", str: "string", Path: "path"}
    words[SecretStr] = "secret string"
    return words[annotation] + _bounds(field)


def _without_none(annotation: Any) -> Any:
    """The type of a setting, without the None of one that need not be given."""
    if get_origin(annotation) in {Union, types.UnionType}:
        (annotation,) = (one for one in get_args(annotation) if one is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _bounds(field: FieldInfo) -> str:
    parts = []
    for limit in field.metadata:
        match limit:
            case Ge(ge=value):
                parts.append(f"≥ {value:,}")
            case Gt(gt=value):
                parts.append(f"> {value:,}")
            case Le(le=value):
                parts.append(f"≤ {value:,}")
    return f", {', '.join(parts)}" if parts else ""


def _default_of(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    if field.is_required():
        return "must be set"
    match default:
        case None:
            return "not set"
        case SecretStr():
            return f"`{default.get_secret_value()}`"
        case bool():
            return f"`{str(default).lower()}`"
        case () | {}:
            return "empty" if not default else f"`{default}`"
        case _:
            return f"`{default}`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
