"""Job ids: UUID version 7, so that an id says when its job was sent.

The layout is RFC 9562, section 5.7: 48 bits of Unix milliseconds, then version, variant and
74 random bits. An id that Celery made itself (version 4) is just as good, it only tells no time.
"""

from __future__ import annotations

import os
import time
from typing import Final

__all__ = ["new_job_id", "new_job_ids", "sent_at_ms", "step_of"]

_VERSION: Final = 7

#: For a digit of chance: the two bits `10`, and two of its own.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

#: Of 74 random bits, 26 are those of the step, in 7 digits, and 48 are an id's own.
_STEP_BYTES: Final = 4
_OWN_BYTES: Final = 6
_STEP_LENGTH: Final = 23

#: In `01234567-89ab-7…`: how long it is, and where the version stands.
_LENGTH: Final = 36
_VERSION_AT: Final = 14


def new_job_id() -> str:
    """A fresh id, unique, ordered by millisecond."""
    return new_job_ids(1)[0]


def new_job_ids(count: int) -> list[str]:
    """As many fresh ids, of one millisecond; they share what `step_of` returns."""
    now = f"{time.time_ns() // 1_000_000:012x}"
    # Asking the system for chance takes longer than all else: once is enough.
    chance = os.urandom(_STEP_BYTES + count * _OWN_BYTES).hex()
    s, own = chance[: 2 * _STEP_BYTES], chance[2 * _STEP_BYTES :]
    step = f"{now[:8]}-{now[8:]}-{_VERSION}{s[:3]}-{_VARIANT[s[3]]}{s[4:7]}-"
    width = 2 * _OWN_BYTES
    return [step + own[at : at + width] for at in range(0, len(own), width)]


def step_of(job_id: str) -> str:
    """What an id has in common with those that were made together with it, and with no other."""
    return job_id[:_STEP_LENGTH]


def sent_at_ms(job_id: str) -> int | None:
    """The Unix time in milliseconds at which the job was sent, by the sender's clock; None
    where the id does not say."""
    if len(job_id) != _LENGTH or job_id[_VERSION_AT] != str(_VERSION):
        return None
    try:
        # Its first 48 bits. Making a UUID of it would take four times as long.
        return int(job_id[:8] + job_id[9:13], 16)
    except ValueError:
        return None
