"""Certificate authorities for tests, made with openssl; each test makes its own."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.missing import on_path, redis_program, skip_without

__all__ = ["Authority", "Certificate", "redis_program_with_tls"]

_NEW_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The files of a certificate and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority.

    Args:
        folder: Where its files are stored; created.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._own = self._make("authority", "-addext", "keyUsage=keyCertSign")

    @property
    def file(self) -> Path:
        """The file with the authority's certificate."""
        return self._own.certificate

    def certificate(self, name: str, *, address: str = "IP:127.0.0.1") -> Certificate:
        """Make a certificate that this authority has signed, for an address."""
        signed = ("-CA", str(self._own.certificate), "-CAkey", str(self._own.key))
        return self._make(name, *signed, "-addext", f"subjectAltName={address}")

    def _make(self, name: str, *options: str) -> Certificate:
        files = Certificate(self._folder / f"{name}.pem", self._folder / f"{name}-key.pem")
        command = ["req", "-x509", *_NEW_KEY, "-days", "1", "-subj", f"/CN={name}", *options]
        if name != "authority":
            command += ["-addext", "basicConstraints=critical,CA:FALSE"]
        command += ["-keyout", str(files.key), "-out", str(files.certificate)]
        subprocess.run([on_path("openssl"), *command], check=True, capture_output=True)
        return files


def redis_program_with_tls() -> Path:
    """Find a Redis that was built with TLS, or skip the test."""
    program = redis_program()
    # The server names the first unknown option, and exits.
    command = [str(program), "--tls-port", "0", "--no-such-option", "x"]
    reply = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    if "tls-port" in reply.stdout + reply.stderr:
        skip_without("TLS", f"{program} was built without it")
    return program
