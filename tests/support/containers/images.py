"""The images of the check: ours from `make images`, and those of others, made of Debian's packages.

A machine without Docker Hub has neither `python:3.11-slim` nor Redis or Prometheus as images. One
installation of Debian 12 serves as all three. Variables name other images: `BASE`, `REDIS_IMAGE`,
`PROMETHEUS_IMAGE`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

__all__ = ["NoImage", "prepare_images", "sizes_mb"]

_ROOT: Final = Path(__file__).parents[3]

_PACKAGES: Final = (
    *("python3", "python3-venv", "python-is-python3", "ca-certificates"),
    *("redis-server", "prometheus", "wget"),
)

_DEBIAN: Final = "localhost/sentq-check-debian"

#: What is made for each variable. As in images of Docker Hub, the folders of volumes belong to the
#: users of the programs.
_MADE: Final = {
    "BASE": f"FROM {_DEBIAN}\n",
    "REDIS_IMAGE": f"FROM {_DEBIAN}\nRUN install -d -o 999 -g 1000 /data\n",
    "PROMETHEUS_IMAGE": (
        f"FROM {_DEBIAN}\nRUN install -d -o 65534 -g 65534 /prometheus\n"
        'USER 65534:65534\nENTRYPOINT ["prometheus"]\n'
    ),
}

#: Images of ours: the names that `make images` knows, and those in docker/compose.yaml.
_OURS: Final = {"client": "sentq", "worker": "sentq-worker"}


class NoImage(Exception):
    """An image could not be built; what the program printed says why."""


def prepare_images(
    environment: Mapping[str, str], folder: Path, *, is_new: bool = False
) -> dict[str, str]:
    """Build the images that are missing; return the variables that name those of others.

    Args:
        environment: Variables of podman, and those of docker/images.py.
        folder: For large temporary files.
        is_new: Build images of ours also if they are there.

    Raises:
        NoImage: A program failed.
    """
    made = {name: f"{_DEBIAN}-{name.lower()}" for name in _MADE if name not in os.environ}
    for variable, name in made.items():
        if not _exists(name, environment):
            _make(name, _MADE[variable], folder, environment)
    names = {name: os.environ[name] for name in _MADE if name in os.environ} | made
    ours = [each for each, name in _OURS.items() if is_new or not _exists(name, environment)]
    if ours:
        variables = dict(environment) | {"IMAGE_TOOL": "podman", "BASE": names["BASE"]}
        _run(["make", "-C", str(_ROOT), "images", f"IMAGES={' '.join(ours)}"], variables)
    return names


def sizes_mb(environment: Mapping[str, str]) -> dict[str, float]:
    """Return the sizes of the images of ours, without those of their bases, in MB."""
    command = ["podman", "image", "inspect", "--format", "{{.Size}}", *_OURS.values()]
    done = subprocess.run(
        command, env=dict(environment), check=True, stdout=subprocess.PIPE, text=True
    )
    sizes = (float(size) / 1e6 for size in done.stdout.split())
    return dict(zip(_OURS.values(), sizes, strict=True))


def _make(name: str, dockerfile: str, folder: Path, environment: Mapping[str, str]) -> None:
    if not _exists(_DEBIAN, environment):
        archive = folder / "debian.tar"
        include = f"--include={','.join(_PACKAGES)}"
        _run(["mmdebstrap", "--variant=minbase", include, "bookworm", str(archive)], environment)
        _run(["podman", "import", "--quiet", str(archive), _DEBIAN], environment)
        archive.unlink()
    file = folder / "Dockerfile"
    file.write_text(dockerfile)
    _run(["podman", "build", "--quiet", "--tag", name, "--file", str(file)], environment)


def _exists(name: str, environment: Mapping[str, str]) -> bool:
    command = ["podman", "image", "exists", name]
    return subprocess.run(command, env=dict(environment), check=False).returncode == 0


def _run(command: list[str], environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, env=dict(environment), check=False)
    if done.returncode != 0:
        raise NoImage(f"exit status {done.returncode} of: {' '.join(command)}")
