"""The settings in the schema of the chart's values, generated from the models of settings.

`make docs` writes them into configs/helm/sentq/values.schema.json; what that file says of
other values is written by hand. A test compares the file with the models.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import SecretStr

from sentq.gateway.settings import GatewaySettings
from sentq.settings import LayeredSettings, Settings
from sentq.webhooks.settings import WebhookSettings
from sentq_worker.settings import HubSettings, WorkerSettings
from tests.support.kubernetes.files import CHART

__all__ = ["MODELS", "PREFIXES", "SCHEMA", "chart_settings", "render"]

SCHEMA: Final = CHART / "values.schema.json"

#: The models, by the name that their settings have in the schema.
MODELS: Final[dict[str, type[LayeredSettings]]] = {
    "settings": Settings,
    "workerSettings": WorkerSettings,
    "hubSettings": HubSettings,
    "gatewaySettings": GatewaySettings,
    "webhookSettings": WebhookSettings,
}

#: The prefixes of their variables, by the same names.
PREFIXES: Final = {name: str(model.model_config["env_prefix"]) for name, model in MODELS.items()}

#: What the chart sets itself. So it does all that is secret, and all files.
_SET_BY_THE_CHART: Final = {"delivers_webhooks", "host", "port", "metrics_host", "metrics_port"}

#: Text for people, which docs/settings.md has, and defaults, which the programs have.
_DROPPED: Final = ("title", "default", "description", "format", "writeOnly")


def chart_settings(model: type[LayeredSettings]) -> list[str]:
    """Return the settings that may be values of the chart."""
    return sorted(
        name
        for name, field in model.model_fields.items()
        if name not in _SET_BY_THE_CHART and not {SecretStr, Path} & set(_types(field.annotation))
    )


def render() -> str:
    """Return the whole schema, with the settings of the models."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    for name, model in MODELS.items():
        whole = model.model_json_schema()
        properties, parts = whole["properties"], whole.get("$defs", {})
        schema["definitions"][name] = {
            "type": "object",
            "additionalProperties": False,
            "properties": {key: _plain(properties[key], parts) for key in chart_settings(model)},
        }
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _types(annotation: Any) -> Iterator[object]:
    """The types of which an annotation is made."""
    if get_origin(annotation) in {Union, types.UnionType, Annotated, tuple, dict}:
        for each in get_args(annotation):
            yield from _types(each)
    else:
        yield annotation


def _plain(schema: dict[str, Any], parts: dict[str, Any]) -> dict[str, Any]:
    """A property without the null of a setting that need not be given, and without references.

    Args:
        schema: The property.
        parts: What it may refer to, by name: models of settings in a table.
    """
    for alternative in schema.get("anyOf", ()):
        if alternative != {"type": "null"}:
            schema = schema | alternative
    if reference := schema.get("$ref"):
        schema = schema | parts[reference.rpartition("/")[2]]
    plain = {key: value for key, value in schema.items() if key not in (*_DROPPED, "anyOf", "$ref")}
    for place in ("properties", "patternProperties"):
        if place in plain:
            plain[place] = {key: _plain(one, parts) for key, one in plain[place].items()}
    return plain


if __name__ == "__main__":
    SCHEMA.write_text(render(), encoding="utf-8")
