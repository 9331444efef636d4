"""Job ids: UUID version 7, so that an id says when its job was sent.

The layout is RFC 9562, section 5.7: 48 bits of Unix milliseconds, then version, variant and
74 random bits. An id that Celery made itself (version 4) is just as good, it only tells no time.
"""

from __future__ import annotations

import os
import time
from typing import Final
from uuid import UUID

__all__ = ["new_job_id", "sent_at_ms"]

_VERSION: Final = 7


def new_job_id() -> str:
    """A fresh id, unique, ordered by millisecond."""
    random_bits = int.from_bytes(os.urandom(10), "big")
    milliseconds = time.time_ns() // 1_000_000
    value = (milliseconds & (1 << 48) - 1) << 80 | random_bits
    value = value & ~(0xF << 76) | _VERSION << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))


def sent_at_ms(job_id: str) -> int | None:
    """The Unix time in milliseconds at which the job was sent, by the sender's clock; None
    where the id does not say."""
    try:
        identifier = UUID(job_id)
    except (ValueError, AttributeError, TypeError):
        return None
    return identifier.int >> 80 if identifier.version == _VERSION else None
