"""Job ids: UUID version 7, so that an id tells when its job was sent.

The layout is RFC 9562, section 5.7: 48 bits of Unix milliseconds, then version, variant and
74 random bits. An id that Celery made (version 4) is valid too; it only tells no time.
"""

from __future__ import annotations

import os
import re
from typing import Final

from sentq.wire.clock import CLOCK

__all__ = ["UUID_PATTERN", "is_uuid", "new_job_ids", "send_group_of", "sent_at_ms"]

#: The form of an id of any version: a UUID in lower case.
UUID_PATTERN: Final = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_UUID: Final = re.compile(UUID_PATTERN)

_VERSION: Final = 7

#: By a random hexadecimal digit: the two bits `10` of the variant, then two of its random bits.
_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}

#: Of 74 random bits, the ids of a send group share 26, in 7 digits; each has 48 of its own.
_GROUP_BYTES: Final = 4
_OWN_BYTES: Final = 6
_GROUP_LENGTH: Final = 23

#: In `01234567-89ab-7…`: the length, and the place of the version.
_LENGTH: Final = 36
_VERSION_AT: Final = 14


def new_job_ids(count: int, *, at_s: float | None = None) -> list[str]:
    """Return new unique ids of one send group, all of one millisecond.

    Args:
        count: How many.
        at_s: When the jobs are sent, in Unix seconds by Redis' clock; None takes this machine's.
    """
    now = f"{int((CLOCK.unix_s() if at_s is None else at_s) * 1000):012x}"
    # One call for all ids: to ask the system for random bytes takes longer than everything else.
    random = os.urandom(_GROUP_BYTES + count * _OWN_BYTES).hex()
    r, own = random[: 2 * _GROUP_BYTES], random[2 * _GROUP_BYTES :]
    group = f"{now[:8]}-{now[8:]}-{_VERSION}{r[:3]}-{_VARIANT[r[3]]}{r[4:7]}-"
    width = 2 * _OWN_BYTES
    return [group + own[at : at + width] for at in range(0, len(own), width)]


def is_uuid(text: str) -> bool:
    """Return whether a text is a UUID in lower case."""
    return _UUID.fullmatch(text) is not None


def send_group_of(job_id: str) -> str:
    """Return the part that an id shares with those made together with it, and with no others."""
    return job_id[:_GROUP_LENGTH]


def sent_at_ms(job_id: str) -> int | None:
    """Return when the job was sent, in Unix milliseconds, None if the id does not tell. Clients
    use Redis' clock; another sender may have used its own."""
    if len(job_id) != _LENGTH or job_id[_VERSION_AT] != str(_VERSION):
        return None
    try:
        # The first 48 bits. To make a UUID object of the id would take four times as long.
        return int(job_id[:8] + job_id[9:13], 16)
    except ValueError:
        return None
