"""What running containers takes on Debian, and a configuration where podman's defaults fail."""

from __future__ import annotations

import json
import os
import resource
import shutil
import sys
from pathlib import Path
from typing import Final

__all__ = ["compose_program", "containers_environment", "hard_limits", "missing"]

#: Programs, and the packages of Debian that have them. Those in the folder are run by podman alone.
_PACKAGES: Final = {
    "podman": "podman",
    "netavark": "netavark",
    "aardvark-dns": "aardvark-dns",
    "iptables": "iptables",
    "runc": "runc",
    "mmdebstrap": "mmdebstrap",
    "openssl": "openssl",
}
_PODMAN_FOLDER: Final = "/usr/lib/podman"

#: crun, the default, and podman's default manager of cgroups need version 2 of cgroups and systemd.
_OLD_CGROUPS: Final = """\
[containers]
default_ulimits = {limits}
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
[network]
network_backend = "netavark"
"""


def missing() -> list[str]:
    """Return what this machine lacks, each with the command that brings it; empty if nothing."""
    path = f"{os.environ.get('PATH', '')}:{_PODMAN_FOLDER}:/usr/sbin"
    packages = [
        package for program, package in _PACKAGES.items() if not shutil.which(program, path=path)
    ]
    found = []
    if os.geteuid() != 0:
        found.append("the rights of root: networks and images of others are only tried with them")
    if packages:
        install = "apt-get install --no-install-recommends"
        found.append(f"programs of Debian: {install} {' '.join(packages)}")
    if not compose_program().is_file():
        found.append(f"podman-compose: {sys.executable} -m pip install podman-compose")
    return found


def compose_program() -> Path:
    """Return where podman-compose belongs. Debian 12 has one that knows no profiles."""
    return Path(sys.executable).parent / "podman-compose"


def containers_environment(folder: Path) -> dict[str, str]:
    """Return the variables with which podman works here. A configuration of the user stays.

    Args:
        folder: Gets a configuration if one is needed.
    """
    if "CONTAINERS_CONF" in os.environ or Path("/sys/fs/cgroup/cgroup.controllers").exists():
        return dict(os.environ)
    file = folder / "containers.conf"
    limits = [f"{name}={limit}:{limit}" for name, limit in hard_limits().items()]
    file.write_text(_OLD_CGROUPS.format(limits=json.dumps(limits)))
    return os.environ | {"CONTAINERS_CONF": str(file)}


def hard_limits() -> dict[str, int]:
    """Return what podman may set: it asks for more, and lowers its own limit of processes first."""
    processes = int(Path("/proc/sys/kernel/pid_max").read_text())
    return {
        "nofile": resource.getrlimit(resource.RLIMIT_NOFILE)[1],
        "nproc": min(processes, resource.getrlimit(resource.RLIMIT_NPROC)[1]),
    }
