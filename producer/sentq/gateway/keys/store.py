"""Where keys are kept: one hash in the Redis of the results, shared by all gateways.

    sentq.gateway.keys   hash   the record of each key as JSON, by its id

A gateway may only read it. Keys are made and revoked with `sentq gateway keys`, by an operator. A
record of a revoked key stays: a gateway without any key is open to its machine.
"""

from __future__ import annotations

from typing import Final

from pydantic import ValidationError

from sentq.errors import InvalidInput
from sentq.gateway.client import GatewayClient
from sentq.gateway.keys.records import KeyRecord

__all__ = ["KEYS_KEY", "MAX_KEYS", "KeyStore"]

KEYS_KEY: Final = "sentq.gateway.keys"

#: Most keys, with those that are revoked: they take some 3 MB.
MAX_KEYS: Final = 10_000


class KeyStore:
    """The keys in Redis.

    Args:
        client: Reads and writes them.

    Raises, from all methods:
        ResultsUnavailable: Redis did not answer, or refused.
    """

    def __init__(self, client: GatewayClient) -> None:
        self._client = client
        self._key = client.key(KEYS_KEY)

    async def find(self, key_id: str) -> KeyRecord | None:
        """Return the record of a key by its id, also of a revoked one; None for an unknown id."""
        return _record(await self._client.ask(("HGET", self._key, key_id)))

    async def is_empty(self) -> bool:
        """Return whether there is no key, also none that was revoked."""
        return not await self._client.ask(("EXISTS", self._key))

    async def all(self) -> list[KeyRecord]:
        """Return the records of all keys, those that were made first before others."""
        found: dict[bytes, bytes] = await self._client.ask(("HGETALL", self._key))
        records = [record for record in map(_record, found.values()) if record is not None]
        return sorted(records, key=lambda record: (record.created_s, record.id))

    async def add(self, record: KeyRecord) -> None:
        """Keep a new key.

        Raises:
            InvalidInput: A valid key has this name, or there are too many keys.
        """
        known = await self.all()
        if any(each.name == record.name and each.revoked_s is None for each in known):
            raise InvalidInput(f"a key is called {record.name!r} already: revoke it first")
        revoked = [each for each in known if each.revoked_s is not None]
        if len(known) >= MAX_KEYS and not revoked:
            raise InvalidInput(f"there are {len(known):,} keys: revoke some first")
        if len(known) >= MAX_KEYS:
            await self._client.ask(("HDEL", self._key, revoked[0].id))
        await self._write(record)

    async def revoke(self, id_or_name: str, *, at_s: int) -> KeyRecord:
        """Make a key invalid, from its next request on; return its record.

        Args:
            id_or_name: Its id, or the name of a valid key.
            at_s: The time, in Unix seconds.

        Raises:
            InvalidInput: There is no such key.
        """
        for record in await self.all():
            is_named = record.name == id_or_name and record.revoked_s is None
            if record.id == id_or_name or is_named:
                revoked = record
                if record.revoked_s is None:
                    revoked = record.model_copy(update={"revoked_s": at_s})
                    await self._write(revoked)
                return revoked
        raise InvalidInput("there is no key of this id or name: see `sentq gateway keys list`")

    async def _write(self, record: KeyRecord) -> None:
        await self._client.ask(("HSET", self._key, record.id, record.model_dump_json()))


def _record(found: bytes | None) -> KeyRecord | None:
    """Return a record; None for none, and for one that cannot be read."""
    try:
        return None if found is None else KeyRecord.model_validate_json(found)
    except ValidationError:
        return None
