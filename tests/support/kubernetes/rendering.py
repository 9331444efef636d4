"""Manifests made by helm and kustomize, and the files of configs/kubernetes that helm made.

    configs/helm/sentq ─ helm template ─▶ configs/kubernetes/base, components  (`make kubernetes`)
                                              │ and the patches of components
                                              ▼
    kubectl kustomize overlays/gpu   ==   helm template --values overlays/gpu/values.yaml

So the chart is the only place where an object is written. What cannot be rendered, the patches of
components, is compared: each overlay must give the objects that the chart gives with its values.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from tests.support.kubernetes.files import CHART, CONFIGS, MANIFESTS
from tests.support.kubernetes.tools import tool

__all__ = [
    "DIGEST",
    "NAMESPACE",
    "OVERLAYS",
    "RENDERED",
    "ToolFailed",
    "by_name",
    "chart_digest",
    "documents",
    "helm",
    "kustomize",
    "render",
    "rendered_documents",
]

NAMESPACE: Final = "sentq"

OVERLAYS: Final = sorted(each.name for each in (MANIFESTS / "overlays").iterdir())

#: The files that helm makes: the overlay with whose values, and which template.
RENDERED: Final = {
    MANIFESTS / "base" / "service-account.yaml": ("cpu", "service-account"),
    MANIFESTS / "base" / "worker.yaml": ("cpu", "worker"),
    MANIFESTS / "base" / "gateway.yaml": ("cpu", "gateway"),
    MANIFESTS / "base" / "exporter.yaml": ("cpu", "exporter"),
    MANIFESTS / "components" / "redis" / "redis.yaml": ("cpu", "redis"),
    # Its patch says what changes if there need be no worker.
    MANIFESTS / "components" / "monitoring" / "monitoring.yaml": ("monitoring", "monitoring"),
    MANIFESTS / "components" / "webhooks" / "webhooks.yaml": ("webhooks", "webhooks"),
    MANIFESTS / "components" / "keda" / "autoscaling.yaml": ("keda", "autoscaling"),
    MANIFESTS / "components" / "keda-redis" / "autoscaling.yaml": ("keda-redis", "autoscaling"),
}

#: The state of the chart from which they were made.
DIGEST: Final = MANIFESTS / "chart.sha256"

_HEADER: Final = "# Rendered from configs/helm/sentq by `make kubernetes`; do not edit.\n"


class ToolFailed(Exception):
    """helm or kubectl failed; the message is what it said."""


def helm(*arguments: str | Path) -> str:
    """Render the chart as the release `sentq`; return the manifests.

    Args:
        arguments: Such as `--values FILE` or `--set keda.enabled=true`.

    Raises:
        ToolFailed: The values are refused, or a template fails.
    """
    return _run("helm", "template", "sentq", CHART, "--namespace", NAMESPACE, *arguments)


def kustomize(overlay: str) -> str:
    """Return the manifests of an overlay.

    Raises:
        ToolFailed: A patch does not fit.
    """
    return _run("kubectl", "kustomize", MANIFESTS / "overlays" / overlay)


def documents(text: str) -> list[dict[str, Any]]:
    """Return the objects of a file of manifests."""
    return [each for each in yaml.safe_load_all(text) if each]


def rendered_documents() -> list[dict[str, Any]]:
    """Return the objects of all files that helm made, as they are now."""
    return [each for file in RENDERED for each in documents(file.read_text(encoding="utf-8"))]


def by_name(objects: list[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return objects by kind and name, without the namespace: helm leaves it to the cluster.

    Raises:
        ValueError: Two of them have the same name, or an object is in another namespace.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for each in objects:
        metadata = dict(each["metadata"])
        if metadata.pop("namespace", NAMESPACE) != NAMESPACE:
            raise ValueError(f"another namespace: {each['metadata']}")
        key = (each["kind"], metadata["name"])
        if key in found:
            raise ValueError(f"twice: {key}")
        found[key] = each | {"metadata": metadata}
    return found


def chart_digest() -> str:
    """Return a digest of all that the rendered files depend on."""
    digest = hashlib.sha256()
    values = (MANIFESTS / "overlays").glob("*/values.yaml")
    for file in sorted([*_chart_files(), *values]):
        digest.update(str(file.relative_to(CONFIGS)).encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()


def render(file: Path) -> str:
    """Return what helm makes of one of `RENDERED`."""
    values, template = RENDERED[file]
    chosen = (
        ("--set", "monitoring.enabled=true")
        if values == "monitoring"
        else ("--values", MANIFESTS / "overlays" / values / "values.yaml")
    )
    text = helm(*chosen, "--show-only", f"templates/{template}.yaml")
    return (
        _HEADER
        + "\n".join(
            line.rstrip() for line in text.splitlines() if not line.startswith("# Source: ")
        )
        + "\n"
    )


def _chart_files() -> Iterator[Path]:
    yield CHART / "Chart.yaml"
    yield CHART / "values.yaml"
    yield from (CHART / "templates").iterdir()
    yield from (file for file in (CHART / "files").rglob("*") if file.is_file())


def _run(program: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [tool(program), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 0:
        raise ToolFailed(done.stderr)
    return done.stdout


def main() -> None:
    """Write all rendered files."""
    for file in RENDERED:
        file.write_text(render(file), encoding="utf-8")
    DIGEST.write_text(f"{chart_digest()}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
