"""Write the locks of the images, `docker/requirements-*.lock`: `make lock`.

A lock names the version of each package and the SHA-256 of each of its files, as the registry
lists them; the files themselves are not downloaded. Versions come from constraints.txt. What
constraints.txt does not name (the CUDA libraries of torch) keeps the version of the present
lock, so that a second run changes nothing. A lock names no registry: pip takes each file from
where it is configured to, and refuses a file whose SHA-256 is not in the lock.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_DOCKER: Final = Path(__file__).parent
_ROOT: Final = _DOCKER.parent

#: What an image contains, as arguments of `uv pip compile`.
_CLIENT: Final = ["pyproject.toml", "--extra", "encryption", "--extra", "metrics"]
_PRODUCER: Final = [*_CLIENT, "--extra", "gateway", "--extra", "webhooks"]
_WORKER: Final = [*_CLIENT, "--extra", "worker", "--extra", "flower"]
_HUB: Final = [*_CLIENT, "--extra", "hub"]

#: Torch and the CUDA libraries that only its public Linux wheels require. They have a lock of
#: their own, because a build of torch for CPUs has other files and needs none of these.
_TORCH: Final = ("torch==", "triton==", "nvidia-", "cuda-")

#: Entries of other platforms: images run Linux.
_OTHER_PLATFORMS: Final = ("sys_platform == 'win32'", "sys_platform == 'emscripten'")

_HEADER: Final = """\
# Made by `make lock`; do not edit. {what}
# pip installs only files with one of these SHA-256 sums: `pip install --require-hashes`.
"""


def main() -> None:
    """Write all locks."""
    worker = _resolve(_WORKER, [*_read("worker"), *_read("torch")])
    torch = [entry for entry in worker if entry.startswith(_TORCH)]
    others = [entry for entry in worker if not entry.startswith(_TORCH)]
    _write("worker", "The worker with Flower and encryption, without torch.", others)
    _write("torch", "Torch's public wheels, with CUDA; also needs the worker's lock.", torch)
    producer = _resolve(_PRODUCER, _read("producer"))
    _write(
        "producer",
        "The client and its command, with encryption, the exporter, the gateway and webhooks.",
        producer,
    )
    hub = _resolve(_HUB, _read("hub"))
    _write("hub", "A worker that asks the Hub alone, with encryption, without torch.", hub)
    with tempfile.NamedTemporaryFile("w", suffix=".in") as needed:
        needed.write("hatchling\n")
        needed.flush()
        build = _resolve([needed.name], _read("build"))
    _write("build", "What builds the wheels of this project.", build)


def _resolve(wanted: list[str], present: Iterable[str]) -> list[str]:
    """Return the entries of a lock: a requirement each, with its hashes on lines of their own."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "requirements.txt"
        output.write_text("\n".join(present), encoding="utf-8")
        subprocess.run(
            [
                Path(sys.executable).parent / "uv",
                *("pip", "compile", *wanted),
                *("--constraint", "constraints.txt"),
                *("--universal", "--python-version", "3.11"),
                *("--generate-hashes", "--no-annotate", "--no-header", "--quiet"),
                *("--output-file", output),
            ],
            cwd=_ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        return _entries(output.read_text(encoding="utf-8"))


def _entries(text: str) -> list[str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n    ", "\\\0")
    entries = [entry.replace("\\\0", "\\\n    ") for entry in joined.splitlines()]
    return [each for each in entries if not any(it in each for it in _OTHER_PLATFORMS)]


def _path(name: str) -> Path:
    return _DOCKER / f"requirements-{name}.lock"


def _read(name: str) -> list[str]:
    path = _path(name)
    return _entries(path.read_text(encoding="utf-8")) if path.exists() else []


def _write(name: str, what: str, entries: Iterable[str]) -> None:
    content = _HEADER.format(what=what) + "\n".join(entries) + "\n"
    _path(name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
