"""The password of Redis from a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from sentq import Settings, errors
from sentq.connection.app import make_app
from sentq.connection.passwords import with_password


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://host:6379/0", "redis://:p%40ss%2F%3A@host:6379/0"),
        ("rediss://host/0?a=b", "rediss://:p%40ss%2F%3A@host/0?a=b"),
        ("redis://user@host/0", "redis://user:p%40ss%2F%3A@host/0"),
        ("redis://user:own@host/0", "redis://user:own@host/0"),
        ("redis://:own@host/0", "redis://:own@host/0"),
        ("redis+socket:///a.sock?virtual_host=0", "redis+socket:///a.sock?virtual_host=0"),
        (
            "sentinel://a:1;sentinel://b/0",
            "sentinel://:p%40ss%2F%3A@a:1;sentinel://:p%40ss%2F%3A@b/0",
        ),
        ("amqp://host//", "amqp://host//"),
    ],
)
def test_a_url_without_a_password_gets_that_of_the_file(
    url: str, expected: str, tmp_path: Path
) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss/:\n")
    assert with_password(url, Settings.load(redis_password_file=file)) == expected
    assert with_password(url, Settings.load()) == url


def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.touch()
    for file, message in ((tmp_path / "none", "cannot be read"), (empty, "is empty")):
        with pytest.raises(errors.SettingsError, match=f"{file.name} {message}"):
            make_app(Settings.load(redis_password_file=file))
