"""When a process of a group that has ended is started again, and when it is given up."""

from __future__ import annotations

from typing import Final

from sentq_worker.backoff import jittered_s
from sentq_worker.exit_codes import EX_CONFIG, EX_UNAVAILABLE, EX_USAGE, signal_exit_code

__all__ = ["RestartPolicy", "exit_code_of"]

#: A process that ran for so long has not failed at its start. Its failures are forgotten.
_STEADY_S: Final = 60.0

_LEAST_S: Final = 1.0
_MOST_S: Final = 30.0

#: A new process would fail in the same way.
_FINAL: Final = frozenset({EX_USAGE, EX_CONFIG})


class RestartPolicy:
    """Decides for one process. The delay doubles with each failure, up to half a minute.

    Args:
        limit: How often in a row it is started again after it ended within a minute.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        #: How often in a row it has failed.
        self.failures = 0

    def delay_s(self, *, ran_s: float, return_code: int) -> float | None:
        """Count an end of the process.

        Args:
            ran_s: For how many seconds the process ran.
            return_code: Its exit code, or the negative number of the signal that ended it.

        Returns:
            After how many seconds to start it again; None to give it up.
        """
        self.failures = 1 if ran_s >= _STEADY_S else self.failures + 1
        if return_code in _FINAL or self.failures > self._limit:
            return None
        return jittered_s(self.failures, least_s=_LEAST_S, most_s=_MOST_S)


def exit_code_of(return_code: int) -> int:
    """Return the exit code of a group that ends because a process of it was given up.

    Args:
        return_code: As for `RestartPolicy.delay_s`. A process that ends by itself without an error
            was not asked to.
    """
    if return_code < 0:
        return signal_exit_code(-return_code)
    return return_code or EX_UNAVAILABLE
