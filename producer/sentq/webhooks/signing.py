"""Signatures of webhooks, as https://www.standardwebhooks.com defines them (HMAC-SHA256).

    the operator's secret ── HMAC over the owner ──▶ the secret of a receiver ──▶ signature

Each owner (a key of the gateway) has a secret of its own, derived from that of the operator. So a
receiver that knows its secret can forge no webhook for another owner, and nothing is stored.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sentq.errors import SettingsError

if TYPE_CHECKING:
    from sentq.webhooks.settings import WebhookSettings

__all__ = ["Signer", "load_signer", "new_secret", "parse_secret"]

_PREFIX: Final = "whsec_"

#: How many bytes a secret may have, as the specification says.
_LEAST_BYTES: Final = 24
_MOST_BYTES: Final = 64
_NEW_BYTES: Final = 32

#: What is derived, before the owner. A byte that no owner has stands between.
_DERIVATION: Final = b"sentq webhook secret v1\0"


def new_secret() -> str:
    """Return a new random secret."""
    return _PREFIX + base64.b64encode(os.urandom(_NEW_BYTES)).decode()


def parse_secret(text: str) -> bytes:
    """Read a secret.

    Raises:
        ValueError: It is not one. The message does not quote it.
    """
    try:
        secret = base64.b64decode(text.strip().removeprefix(_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        secret = b""
    if not text.strip().startswith(_PREFIX) or not _LEAST_BYTES <= len(secret) <= _MOST_BYTES:
        raise ValueError(
            f"a secret is {_PREFIX} and base64 of {_LEAST_BYTES} to {_MOST_BYTES} random bytes: "
            "`sentq webhooks new-secret` makes one"
        )
    return secret


def load_signer(settings: WebhookSettings) -> Signer:
    """Return the signer with the secrets that the settings name.

    Raises:
        SettingsError: There is no secret, or the file cannot be read or has something else.
    """
    texts = [secret.get_secret_value() for secret in settings.secrets]
    if (file := settings.secrets_file) is not None:
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"webhooks.secrets_file: {file} cannot be read: {error}") from error
        texts = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not texts:
        raise SettingsError("webhooks need a secret: set webhooks.secrets or webhooks.secrets_file")
    try:
        return Signer([parse_secret(text) for text in texts])
    except ValueError as error:
        raise SettingsError(f"webhooks.secrets: {error}") from None


class Signer:
    """Signs webhooks with each of the operator's secrets, so that one can be replaced.

    Args:
        secrets: The operator's, the newest first.
    """

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def secrets_of(self, owner: str) -> list[str]:
        """Return the secrets by which a receiver verifies the webhooks of an owner, the newest
        first; each begins with `whsec_`."""
        return [_PREFIX + base64.b64encode(each).decode() for each in self._derived(owner)]

    def headers(self, webhook_id: str, at_s: float, body: bytes, *, owner: str) -> dict[str, str]:
        """Return the three headers of the specification.

        Args:
            webhook_id: The same one at each attempt.
            at_s: When it is sent, in Unix seconds: receivers refuse old ones.
            body: The body, which is UTF-8.
            owner: Whose webhook it is.
        """
        # Settings are checked also where no webhook is signed.
        from standardwebhooks import Webhook

        at = datetime.fromtimestamp(int(at_s), UTC)
        text = body.decode()
        signatures = [Webhook(each).sign(webhook_id, at, text) for each in self._derived(owner)]
        return {
            "webhook-id": webhook_id,
            "webhook-timestamp": str(int(at_s)),
            "webhook-signature": " ".join(signatures),
        }

    def _derived(self, owner: str) -> list[bytes]:
        return [hmac.digest(each, _DERIVATION + owner.encode(), "sha256") for each in self._secrets]
