"""The password of Redis, from a file: it is then in no environment and no list of processes."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import quote

from sentq.errors import SettingsError
from sentq.settings import Settings

__all__ = ["with_password"]

#: Scheme, user and password, and host of a URL of Redis with a network address.
_URL: Final = re.compile(r"(rediss?://|sentinel://)(?:([^/?#]*)@)?(.*)", re.DOTALL)


def with_password(url: str, settings: Settings) -> str:
    """Return a URL with the password of `redis_password_file`, if it has none.

    Args:
        url: One address, or several that are separated by semicolons. A socket gets no password.
        settings: The name of the file.

    Raises:
        SettingsError: The file cannot be read, or has no password.
    """
    file = settings.redis_password_file
    if file is None:
        return url
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(
            f"redis_password_file {file} cannot be read: {type(error).__name__}"
        ) from None
    if not password:
        raise SettingsError(f"redis_password_file {file} is empty")
    return ";".join(_with_password(each, quote(password, safe="")) for each in url.split(";"))


def _with_password(url: str, password: str) -> str:
    match = _URL.fullmatch(url)
    if match is None or ":" in (match[2] or ""):
        return url
    return f"{match[1]}{match[2] or ''}:{password}@{match[3]}"
