"""What a program shows on a terminal."""

from __future__ import annotations

import os

__all__ = ["read_terminal"]


def read_terminal(primary: int) -> bytes:
    """Read what is shown on a terminal until its program closes it; close the primary side."""
    shown = b""
    try:
        while chunk := os.read(primary, 4096):
            shown += chunk
    except OSError:  # The process closed the terminal: all output was read.
        pass
    finally:
        os.close(primary)
    return shown
