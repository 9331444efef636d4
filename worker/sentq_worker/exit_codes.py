"""Exit codes of `sentq-worker`, after `sysexits.h` where it has one.

A supervisor may restart a worker that exits with `EX_UNAVAILABLE` or `EX_SOFTWARE`. After
`EX_USAGE` and `EX_CONFIG` a restart fails in the same way until the configuration is changed.
"""

from __future__ import annotations

from typing import Final

__all__ = [
    "EX_CONFIG",
    "EX_SOFTWARE",
    "EX_SOME_FAILED",
    "EX_UNAVAILABLE",
    "EX_USAGE",
    "signal_exit_code",
]

#: `sentq-worker score`: some texts ended in an error.
EX_SOME_FAILED: Final = 1

#: An option or a setting is wrong. It is 2, as for each command of click, not 64.
EX_USAGE: Final = 2

#: The device was lost, or Redis did not answer: a new process may do better.
EX_UNAVAILABLE: Final = 69

#: The engine hangs, or the event loop stands still: an internal error.
EX_SOFTWARE: Final = 70

#: The engine cannot start: the configuration, or what it refers to, is wrong.
EX_CONFIG: Final = 78

_SIGNAL_BASE: Final = 128


def signal_exit_code(number: int) -> int:
    """Return the exit code of a process that a signal ended, as shells report it."""
    return _SIGNAL_BASE + number
