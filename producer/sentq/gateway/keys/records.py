"""Keys: what is shown once, and what is kept.

    sentq_0123456789abcdef_<43 characters>     the key: its id, and 256 random bits
    SHA-256 of the key                         what is kept, with name, scopes and limits

A slow hash would add nothing: 256 random bits cannot be guessed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["KeyRecord", "KeyScope", "NewKey", "id_in", "new_key"]

_ID_BYTES: Final = 8
_SECRET_BYTES: Final = 32

_KEY: Final = re.compile(r"sentq_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")


class KeyScope(StrEnum):
    """What a key may do."""

    #: Send jobs and batches.
    SUBMIT = "submit"
    #: Read and cancel the jobs and batches that were sent with this key, and read the status.
    READ = "read"
    #: All of that, for the jobs and batches of all keys.
    ADMIN = "admin"


class KeyRecord(BaseModel):
    """What is kept of a key.

    Attributes:
        id: Its id, which is no secret.
        name: What an operator calls it.
        scopes: What it may do.
        digest: The SHA-256 of the whole key, in hexadecimal digits.
        created_s: When it was made, in Unix seconds.
        requests_per_minute: Most requests in a minute; None for no limit.
        texts_per_minute: Most texts in a minute; None for no limit.
        revoked_s: When it was revoked, in Unix seconds; None if it is valid.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    id: str
    name: Annotated[str, Field(min_length=1, max_length=100)]
    scopes: frozenset[KeyScope]
    digest: str
    created_s: int
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    texts_per_minute: Annotated[int, Field(ge=1)] | None = None
    revoked_s: int | None = None

    def may(self, scope: KeyScope) -> bool:
        """Return whether the key has a scope. `admin` has all."""
        return scope in self.scopes or KeyScope.ADMIN in self.scopes

    def is_proven_by(self, key: str) -> bool:
        """Return whether this is the key, and valid. It takes as long for each wrong key."""
        return hmac.compare_digest(self.digest, _digest(key)) and self.revoked_s is None


class NewKey(NamedTuple):
    """A key that was just made. It is shown once.

    Attributes:
        key: The key.
        record: What is kept of it.
    """

    key: str
    record: KeyRecord


def new_key(
    name: str,
    scopes: Iterable[KeyScope],
    *,
    created_s: int,
    requests_per_minute: int | None = None,
    texts_per_minute: int | None = None,
) -> NewKey:
    """Make a key.

    Args:
        name: What an operator calls it, in 1 to 100 characters.
        scopes: What it may do.
        created_s: The time, in Unix seconds.
        requests_per_minute, texts_per_minute: Its limits; None for none.

    Raises:
        pydantic.ValidationError: The name is too long or empty, or a limit is less than 1.
    """
    key_id, secret = secrets.token_hex(_ID_BYTES), secrets.token_urlsafe(_SECRET_BYTES)
    key = f"sentq_{key_id}_{secret}"
    record = KeyRecord(
        id=key_id,
        name=name,
        scopes=frozenset(scopes),
        digest=_digest(key),
        created_s=created_s,
        requests_per_minute=requests_per_minute,
        texts_per_minute=texts_per_minute,
    )
    return NewKey(key, record)


def id_in(key: str) -> str | None:
    """Return the id in a key; None if this has not the form of one."""
    found = _KEY.fullmatch(key)
    return found[1] if found else None


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
