"""How many dead letters there are of each code.

The codes stand in the dead letters beside the messages, of which there may be 64 MiB. So those that
were read are remembered by their ids, and each reading takes only the ones after them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

from sentq.connection.broker import BrokerKeys
from sentq.wire.dead_letters import DEAD_LETTERS_KEY, DeadLetterCode
from sentq.wire.functions import FUNCTIONS
from sentq.wire.steps import ScriptCall, Steps

__all__ = ["UNREAD", "DeadLetterCodes"]

#: The code of dead letters that were not read yet: there are more than one reading takes.
UNREAD: Final = "unread"

#: The code of those with one that this version does not know. Codes must not become labels
#: unchecked: a client of Redis with enough rights may write any.
_OTHER: Final = "other"

_READ: Final = FUNCTIONS["read_dead_letter_codes"]

#: Most dead letters of a call, and about the most bytes that Redis looks at for it.
_CALL_ENTRIES: Final = 2000
_CALL_BYTES: Final = 8 * 1024 * 1024

#: Most calls of a reading. The rest follows with the next one.
_MAX_CALLS: Final = 3


class DeadLetterCodes:
    """Counts dead letters by code. One thread at a time may use it."""

    def __init__(self) -> None:
        #: The codes by id, in the order of the stream. Workers keep some 10,000 at most.
        self._codes: dict[str, str] = {}

    def count_steps(self, broker: BrokerKeys, total: int) -> Steps[Mapping[str, int]]:
        """Return how many there are of each code.

        Args:
            broker: The keys of the broker.
            total: How many there are.
        """
        if not total:
            self._codes.clear()
        calls = 0
        while total and calls < _MAX_CALLS:
            calls += 1
            after = next(reversed(self._codes), "0")
            arguments = [after, _CALL_ENTRIES, _CALL_BYTES]
            found = yield ScriptCall(_READ, [broker.key(DEAD_LETTERS_KEY)], arguments)
            for entry_id, code in zip(found[::2], found[1::2], strict=True):
                self._codes[entry_id.decode()] = _known(code.decode("utf-8", "replace"))
            if len(self._codes) == total:
                break
            if not found and len(self._codes) < total:
                break  # Some were written since they were counted.
            if len(self._codes) > total:
                # Some were removed, by their age, or by an operator. It is not known which ones.
                self._codes.clear()
        counts: Counter[str] = Counter(dict.fromkeys(map(str, DeadLetterCode), 0))
        counts.update(self._codes.values())
        counts[UNREAD] = max(0, total - len(self._codes))
        return counts


def _known(code: str) -> str:
    return code if code in DeadLetterCode.__members__.values() else _OTHER
