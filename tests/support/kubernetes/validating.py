"""What checks manifests: the schemas of Kubernetes, and our own ones of the custom resources."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any, Final

import jsonschema

__all__ = ["VERSIONS", "complaint"]

#: Versions of Kubernetes: the oldest that the chart accepts, one between, and a new one.
VERSIONS: Final = ("1.30", "1.34", "1.37")

_SCHEMAS: Final = Path(__file__).parent / "schemas"


def complaint(manifest: dict[str, Any], version: str) -> str:
    """Return what is wrong with an object; empty if nothing is.

    Fields that do not exist are wrong, too. Custom resources are compared with the schemas beside
    this file, which know the fields that the manifests use.

    Args:
        manifest: The object.
        version: The version of Kubernetes, such as "1.33".
    """
    group, _, _ = manifest["apiVersion"].partition("/")
    if group in {"keda.sh", "monitoring.coreos.com"}:
        return _custom_complaint(manifest)
    # Installed by `make manifests` alone.
    import kubernetes_validate

    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        return str(error)
    return ""


def _custom_complaint(manifest: dict[str, Any]) -> str:
    errors = _validator(manifest["kind"]).iter_errors(manifest)
    return "\n".join(f"{error.json_path}: {error.message}" for error in errors)


@cache
def _validator(kind: str) -> jsonschema.Draft7Validator:
    schema = json.loads((_SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema)
