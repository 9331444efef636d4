"""Build the images with what this machine has: docker, podman or buildah. `make images`.

    python docker/images.py [NAME...]

The names are `client`, `worker` (for CPUs), `cuda`, and `hub` (asks the Hub alone, without torch);
without any, client, worker and hub. Images are called as the chart calls them: `sentq:0.1.0`,
`sentq-worker:0.1.0`, `sentq-worker:0.1.0-cuda`, `sentq-worker:0.1.0-hub`; the first two also as
docker/compose.yaml does: `sentq`, `sentq-worker`.

Variables:
    IMAGE_TOOL    the program: docker, podman or buildah
    BASE          where Python comes from (python:3.11-slim)
    PIP_OPTIONS   options of pip. Torch for CPUs is not in PyPI:
                  "--extra-index-url <the index of torch's CPU wheels>"
    BUILD_OPTIONS further options of the program, such as "--isolation chroot"
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).parents[1]


@dataclass(frozen=True, slots=True)
class _Image:
    """An image: its name, what follows the version in its tag, its Dockerfile and arguments."""

    name: str
    file: str
    suffix: str = ""
    arguments: dict[str, str] = field(default_factory=dict)


_IMAGES: Final = {
    "client": _Image("sentq", "producer"),
    "worker": _Image(
        "sentq-worker",
        "worker",
        arguments={"TORCH_LOCK": "docker/requirements-torch-cpu.txt"},
    ),
    "cuda": _Image("sentq-worker", "worker", "-cuda"),
    "hub": _Image(
        "sentq-worker",
        "worker",
        "-hub",
        {
            "TORCH_LOCK": "docker/requirements-none.txt",
            "WORKER_LOCK": "docker/requirements-hub.lock",
            "DISTRIBUTIONS": ".",
            "LOADED": "sentq_worker.app sentq_worker.cli",
        },
    ),
}

_DEFAULT: Final = ("client", "worker", "hub")


class NoImageTool(Exception):
    """Nothing here builds images; the message says what does."""


def main() -> None:
    """Build the images that are named, and print their sizes."""
    names = sys.argv[1:] or list(_DEFAULT)
    if unknown := set(names) - set(_IMAGES):
        sys.exit(f"images: no such image: {', '.join(sorted(unknown))}. See {__file__}")
    try:
        program = _program()
    except NoImageTool as error:
        sys.exit(f"images: {error}")
    tags = [_build(program, _IMAGES[name]) for name in names]
    for tag in tags:
        print(f"{tag}: {_size_mb(program, tag):,.0f} MB")


def _program() -> str:
    """Return a program that builds images here. docker without its daemon does not."""
    named = os.environ.get("IMAGE_TOOL")
    for program in [named] if named else ["docker", "podman", "buildah"]:
        if shutil.which(program):
            done = subprocess.run([program, "info"], check=False, capture_output=True)
            if done.returncode == 0:
                return program
    raise NoImageTool(
        f"{named} does not work here: see `{named} info`"
        if named
        else "install docker, podman or buildah, and start docker's daemon"
    )


def _build(program: str, image: _Image) -> str:
    version = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]["version"]
    tag = f"{image.name}:{version}{image.suffix}"
    arguments = image.arguments | {"VERSION": version, "SOURCE_COMMIT": _commit()}
    arguments |= {
        name: value for name in ("BASE", "PIP_OPTIONS") if (value := os.environ.get(name))
    }
    command = [program, "build", "--file", f"docker/{image.file}.Dockerfile", "--tag", tag]
    if not image.suffix:
        command += ["--tag", image.name]
    if program != "docker":
        # The other format has no HEALTHCHECK.
        command += ["--layers", "--format", "docker"]
    command += shlex.split(os.environ.get("BUILD_OPTIONS", ""))
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    print(f"images: {tag}", flush=True)
    subprocess.run([*command, "."], cwd=_ROOT, check=True)
    return tag


def _commit() -> str:
    """Return the commit of the checkout; empty without git, or if files were changed."""
    git = ["git", "-C", str(_ROOT)]
    if subprocess.run([*git, "diff", "--quiet", "HEAD"], check=False).returncode != 0:
        return ""
    done = subprocess.run([*git, "rev-parse", "HEAD"], check=False, capture_output=True, text=True)
    return done.stdout.strip()


def _size_mb(program: str, tag: str) -> float:
    if program == "buildah":
        shown = _output(program, "images", "--format", "{{.Size}}", tag).split()
        return float(shown[0]) * {"KB": 1e-3, "MB": 1, "GB": 1e3}[shown[1]]
    return float(_output(program, "image", "inspect", "--format", "{{.Size}}", tag)) / 1e6


def _output(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()
