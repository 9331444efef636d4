"""Sealed texts and outcomes: encrypted by the client or the worker, so that Redis cannot read them.

    texts    a job's message   [[], {"sealed": "v1.2026-11.qQ3x…"}, {…}]
    result   its document      {"status": "SUCCESS", "result": {"sealed": "v1.2026-11.Zk0b…"}, …}

    v1 . <key id> . <base64 of salt (12 bytes), nonce (12 bytes), ciphertext and tag (16 bytes)>

The cipher is AES-256-GCM. Its key is HMAC-SHA256 of the configured key over a random salt, which a
sender replaces after a million messages; each message has a random nonce. So the limit of 2**32
messages for one key with random nonces (NIST SP 800-38D, 8.3) is not reached, however long a
configured key is used. The associated data are the purpose and the job id, so that sealed texts
cannot be moved to another job, nor an outcome into the place of texts. The key id says which key
opens, so that a reader does not try them all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import orjson

from sentq.errors import SettingsError, Undecryptable

if TYPE_CHECKING:
    from sentq.settings import Settings

__all__ = ["EncryptionKey", "Keyring", "Purpose", "load_keyring", "parse_key"]

_VERSION: Final = "v1"
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 12
_NONCE_BYTES: Final = 12
_HEAD_BYTES: Final = _SALT_BYTES + _NONCE_BYTES

#: The messages that one salt is used for, and the salts of other senders that are remembered.
_MESSAGES_PER_SALT: Final = 2**20
_CACHED_SALTS: Final = 256

_PARTS: Final = 3
_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,32}")

#: The digits of the SHA-256 by which a key without a name is known.
_ID_DIGITS: Final = 16

#: What the keys of digests are derived for. One byte follows, as in HKDF's first block.
_DIGEST_INFO: Final = b"sentq digests of texts\x01"

_MISSING: Final = 'encryption_keys needs the package cryptography: pip install "sentq[encryption]"'


class Purpose(StrEnum):
    """What is sealed. Something sealed for one purpose cannot be opened for the other."""

    TEXTS = "texts"
    RESULT = "result"


@dataclass(frozen=True, slots=True)
class EncryptionKey:
    """A key of 32 bytes, and the id by which sealed data names it."""

    id: str
    secret: bytes = field(repr=False)


def parse_key(text: str) -> EncryptionKey:
    """Read a key: base64 of 32 bytes, with a name before it or without one (`2026-11:q83v…`).

    Raises:
        ValueError: The text is not a key. The message does not quote it.
    """
    name, _, encoded = text.strip().rpartition(":")
    try:
        secret = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if len(secret) != _KEY_BYTES:
        raise ValueError(f"an encryption key must be base64 of {_KEY_BYTES} bytes")
    if name and not _NAME.fullmatch(name):
        raise ValueError("the name of an encryption key must be letters, digits, - and _")
    return EncryptionKey(name or _digest_id(secret), secret)


def _digest_id(secret: bytes) -> str:
    return hashlib.sha256(b"sentq encryption key\0" + secret).hexdigest()[:_ID_DIGITS]


def load_keyring(settings: Settings) -> Keyring | None:
    """Return the keys that the settings name; None if there are none.

    Raises:
        SettingsError: The file cannot be read, a key is invalid, or cryptography is not installed.
    """
    keys = [key.get_secret_value() for key in settings.encryption_keys]
    if settings.encryption_keys_file is not None:
        keys = _read_keys(settings.encryption_keys_file)
    if not keys:
        return None
    try:
        return Keyring([parse_key(key) for key in keys])
    except ValueError as error:
        raise SettingsError(f"encryption_keys: {error}") from None


def _read_keys(file: Path) -> list[str]:
    """Return the keys in a file: one on each line; empty lines and those with # are skipped."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"encryption_keys_file: {file} cannot be read: {error}") from error
    keys = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not keys:
        raise SettingsError(f"encryption_keys_file: {file} contains no key")
    return keys


class Keyring:
    """The keys of a client or a worker. Safe to share between threads.

    Args:
        keys: The first one seals; all of them open.

    Raises:
        SettingsError: Two keys have the same id, or the package cryptography is not installed.
    """

    def __init__(self, keys: Sequence[EncryptionKey]) -> None:
        self._aes_gcm, self._invalid_tag = _cryptography()
        self._secrets = {key.id: key.secret for key in keys}
        if len(self._secrets) != len(keys):
            raise SettingsError("encryption_keys: two keys are the same, or have the same name")
        self._digest_secrets = [_digest_secret(key.secret) for key in keys]
        self._prefix = f"{_VERSION}.{keys[0].id}."
        self._first_id = keys[0].id
        self._cipher = lru_cache(_CACHED_SALTS)(self._new_cipher)
        self._salt = b""
        self._left = 0

    def seal(self, value: object, purpose: Purpose, job_id: str) -> str:
        """Encrypt a value of JSON for a job, with the first key. The result is ASCII."""
        if self._left <= 0:  # Below zero if threads use the last one at once.
            self._salt, self._left = os.urandom(_SALT_BYTES), _MESSAGES_PER_SALT
        self._left -= 1
        salt, nonce = self._salt, os.urandom(_NONCE_BYTES)
        cipher = self._cipher(self._first_id, salt)
        ciphertext = cipher.encrypt(nonce, orjson.dumps(value), _context(purpose, job_id))
        data = binascii.b2a_base64(salt + nonce + ciphertext, newline=False)
        return self._prefix + data.decode("ascii")

    def open(self, sealed: object, purpose: Purpose, job_id: str) -> object:
        """Decrypt what `seal` returned for the same purpose and job, and return the value.

        Raises:
            Undecryptable: No key has its id, or it was changed, truncated, or sealed for another
                job or purpose.
        """
        parts = sealed.split(".") if isinstance(sealed, str) else []
        if len(parts) != _PARTS or parts[0] != _VERSION or not _NAME.fullmatch(parts[1]):
            raise Undecryptable(f"sealed {purpose}: not the sealed form of this version")
        if parts[1] not in self._secrets:
            raise Undecryptable(
                f"sealed {purpose}: no key in encryption_keys has the id {parts[1]}"
            )
        try:
            data = binascii.a2b_base64(parts[2])
            nonce, ciphertext = data[_SALT_BYTES:_HEAD_BYTES], data[_HEAD_BYTES:]
            cipher = self._cipher(parts[1], data[:_SALT_BYTES])
            return orjson.loads(cipher.decrypt(nonce, ciphertext, _context(purpose, job_id)))
        except (ValueError, self._invalid_tag):
            raise Undecryptable(
                f"sealed {purpose}: changed, truncated, or sealed for another job"
            ) from None

    def digests(self, data: bytes) -> list[bytes]:
        """Return a digest of data (HMAC-SHA256, 32 bytes) for each key, in their order. Without a
        key, it does not tell what the data are, even if few data are possible."""
        return [hmac.digest(secret, data, "sha256") for secret in self._digest_secrets]

    def _new_cipher(self, key_id: str, salt: bytes) -> Any:
        return self._aes_gcm(hmac.digest(self._secrets[key_id], salt, "sha256"))


def _digest_secret(secret: bytes) -> bytes:
    """Return a key for digests, derived from an encryption key (HKDF's expansion, RFC 5869). The
    keys that encrypt are derived over salts, which have another length."""
    return hmac.digest(secret, _DIGEST_INFO, "sha256")


def _context(purpose: Purpose, job_id: str) -> bytes:
    return f"sentq.{_VERSION}.{purpose}.{job_id}".encode()


def _cryptography() -> tuple[Any, type[Exception]]:
    """Import what is needed, once keys are set: clients without keys do without the package."""
    try:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError as error:
        raise SettingsError(_MISSING) from error
    return AESGCM, InvalidTag
