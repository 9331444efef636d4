"""List what the environment of an image consists of, as CycloneDX JSON: `make sbom`.

    python docker/sbom.py PYTHON FILE [LOCK...]

PYTHON is the interpreter of the environment, FILE the file to write. `cyclonedx-py` reads the
names, versions and licences of what is installed. Of these, only what the locks name is kept, so
that the tools of a development environment are not listed. Without locks, those of the worker's
image are meant.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

_DOCKER: Final = Path(__file__).parent
_WORKER_LOCKS: Final = [_DOCKER / f"requirements-{name}.lock" for name in ("worker", "torch")]

#: The distributions of this project. The locks name what they require.
_OWN: Final = {"sentq", "sentq-model"}


def main() -> None:
    """Write the list, and print what the locks name and the environment lacks."""
    python, file, *locks = sys.argv[1:]
    document = _read_environment(python)
    wanted = _OWN | _locked([Path(each) for each in locks] or _WORKER_LOCKS)
    _keep(document, wanted)
    Path(file).write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    listed = {_normalise(each["name"]) for each in document["components"]}
    print(f"{file}: {len(listed)} components")
    if absent := sorted(wanted - listed):
        print(f"in the locks and not installed here: {', '.join(absent)}")


def _read_environment(python: str) -> dict[str, Any]:
    command = Path(sys.executable).parent / "cyclonedx-py"
    done = subprocess.run(
        [command, "environment", "--output-reproducible", "--spec-version", "1.6", python],
        check=True,
        stdout=subprocess.PIPE,
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def _locked(locks: Iterable[Path]) -> set[str]:
    """Return the names of all packages in locks."""
    text = "\n".join(file.read_text(encoding="utf-8") for file in locks)
    return {_normalise(name) for name in re.findall(r"^([\w.-]+)==", text, flags=re.MULTILINE)}


def _keep(document: dict[str, Any], wanted: set[str]) -> None:
    """Drop all components but the wanted ones, and addresses of files on this machine."""
    kept = [each for each in document["components"] if _normalise(each["name"]) in wanted]
    for component in kept:
        references = component.get("externalReferences", [])
        component["externalReferences"] = [
            each for each in references if not each["url"].startswith("file:")
        ]
    names = {each["bom-ref"] for each in kept}
    document["components"] = kept
    document["dependencies"] = [
        each | {"dependsOn": [name for name in each.get("dependsOn", ()) if name in names]}
        for each in document["dependencies"]
        if each["ref"] in names
    ]


def _normalise(name: str) -> str:
    """Return the name of a distribution as package indexes compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main()
