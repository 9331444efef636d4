"""Sealed texts and results: what opens them, and what does not."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sentq import Settings, SettingsError
from sentq.errors import Undecryptable
from sentq.wire import sealing
from sentq.wire.sealing import EncryptionKey, Keyring, Purpose, load_keyring, parse_key


def _key(name: str) -> EncryptionKey:
    return EncryptionKey(name, os.urandom(32))


def _encoded(key: EncryptionKey) -> str:
    return base64.b64encode(key.secret).decode()


OLD, NEW = _key("2026-10"), _key("2026-11")
TEXTS = ["plain", 'quotes " \\', "ümläut 日本 🎉", ""]


@pytest.mark.parametrize("texts", [TEXTS, [], ["x" * 100_000] * 7])
def test_what_one_keyring_seals_another_with_the_same_key_opens(texts: list[str]) -> None:
    sealed = Keyring([NEW]).seal(texts, Purpose.TEXTS, "job")
    assert sealed.isascii()
    assert Keyring([NEW]).open(sealed, Purpose.TEXTS, "job") == texts


def test_the_first_key_seals_and_all_keys_open() -> None:
    before, during, after = Keyring([OLD]), Keyring([NEW, OLD]), Keyring([NEW])
    old, new = (ring.seal(TEXTS, Purpose.TEXTS, "job") for ring in (before, during))
    assert during.open(old, Purpose.TEXTS, "job") == during.open(new, Purpose.TEXTS, "job")
    assert after.open(new, Purpose.TEXTS, "job") == TEXTS
    with pytest.raises(Undecryptable, match="no key in encryption_keys has the id 2026-10"):
        after.open(old, Purpose.TEXTS, "job")


def test_the_same_texts_are_sealed_differently_each_time() -> None:
    ring = Keyring([NEW])
    assert len({ring.seal(TEXTS, Purpose.TEXTS, "job") for _ in range(100)}) == 100


def test_threads_share_a_keyring() -> None:
    ring = Keyring([NEW])

    def seal_and_open(number: int) -> bool:
        texts, job_id = [f"text {number}"] * 20, f"job {number}"
        return all(
            ring.open(ring.seal(texts, Purpose.TEXTS, job_id), Purpose.TEXTS, job_id) == texts
            for _ in range(200)
        )

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(seal_and_open, range(16)))


def test_a_salt_is_replaced_after_its_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "_MESSAGES_PER_SALT", 10)
    ring = Keyring([NEW])
    sealed = [ring.seal([], Purpose.TEXTS, "job") for _ in range(35)]
    salts = [base64.b64decode(each.split(".")[2])[:12] for each in sealed]
    assert len(set(salts)) == 4
    assert all(ring.open(each, Purpose.TEXTS, "job") == [] for each in sealed)


def test_sealed_texts_open_for_their_job_and_purpose_only() -> None:
    ring = Keyring([NEW])
    sealed = ring.seal(TEXTS, Purpose.TEXTS, "job")
    for purpose, job_id in ((Purpose.TEXTS, "another job"), (Purpose.RESULT, "job")):
        with pytest.raises(Undecryptable, match="sealed for another job"):
            ring.open(sealed, purpose, job_id)


def test_no_changed_bit_and_no_shorter_form_opens() -> None:
    ring = Keyring([NEW])
    prefix, _, encoded = ring.seal(["a text"], Purpose.TEXTS, "job").rpartition(".")
    data = base64.b64decode(encoded)
    changed = [
        data[:place] + bytes([data[place] ^ (1 << bit)]) + data[place + 1 :]
        for place in range(len(data))
        for bit in range(8)
    ]
    for each in [*changed, *(data[:size] for size in range(len(data))), data + b"\0"]:
        with pytest.raises(Undecryptable):
            ring.open(f"{prefix}.{base64.b64encode(each).decode()}", Purpose.TEXTS, "job")


@pytest.mark.parametrize(
    "sealed",
    [
        None,
        1,
        [],
        {},
        "",
        "v1",
        "v1..",
        "v2.2026-11.AAAA",
        "v1.2026-11.*",
        "v1.2026-11.é",
        "v1.\x1b.A",
    ],
)
def test_what_is_not_the_sealed_form_is_refused_without_being_quoted(sealed: object) -> None:
    with pytest.raises(Undecryptable) as refusal:
        Keyring([NEW]).open(sealed, Purpose.TEXTS, "job")
    assert str(refusal.value).isprintable()


def test_keys_without_a_name_are_known_by_their_digest() -> None:
    key = parse_key(_encoded(NEW))
    assert key.secret == NEW.secret
    assert parse_key(_encoded(NEW)).id == key.id != parse_key(_encoded(OLD)).id
    assert _encoded(NEW) not in repr(key)


@pytest.mark.parametrize("separator", [",", " ", ", ", "\n"])
def test_keys_come_from_a_variable(monkeypatch: pytest.MonkeyPatch, separator: str) -> None:
    keys = f"2026-11:{_encoded(NEW)}{separator}{_encoded(OLD)}"
    monkeypatch.setenv("SENTQ_ENCRYPTION_KEYS", keys)
    settings = Settings.load()
    ring = load_keyring(settings)
    assert ring is not None
    assert ring.seal([], Purpose.TEXTS, "job").startswith("v1.2026-11.")
    assert _encoded(NEW) not in repr(settings)


def test_keys_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# rotated monthly\n2026-11:{_encoded(NEW)}\n\n2026-10:{_encoded(OLD)}\n")
    ring = load_keyring(Settings.load(encryption_keys_file=file))
    assert ring is not None
    assert ring.open(Keyring([OLD]).seal([], Purpose.TEXTS, "job"), Purpose.TEXTS, "job") == []


@pytest.mark.parametrize("content", ["", "# no key\n", "2026-11:short\n", None])
def test_a_file_without_a_valid_key_is_an_error(tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "keys"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match="encryption_keys"):
        load_keyring(Settings.load(encryption_keys_file=file))


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["c2hvcnQ="], "base64 of 32 bytes"),
        ([f"a name:{_encoded(NEW)}"], "letters, digits"),
        (["not base64 " * 4], "base64 of 32 bytes"),
    ],
)
def test_an_invalid_key_is_refused_without_being_quoted(keys: list[str], says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refusal:
        Settings.load(encryption_keys=keys)
    assert keys[0] not in str(refusal.value)


def test_two_keys_with_one_name_are_refused() -> None:
    keys = [f"a:{_encoded(NEW)}", f"a:{_encoded(OLD)}"]
    with pytest.raises(SettingsError, match="same name"):
        load_keyring(Settings.load(encryption_keys=keys))


def test_keys_and_a_file_of_keys_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not both"):
        Settings.load(encryption_keys=[_encoded(NEW)], encryption_keys_file=tmp_path / "keys")


@pytest.mark.parametrize("char", ["a", '"', "\n", "\x7f", "é", "日", "🎉"])
@pytest.mark.parametrize("limit", [2048, 10_000, 1024 * 1024])
def test_the_largest_job_of_a_sender_fits_into_a_message(char: str, limit: int) -> None:
    settings = Settings.load(encryption_keys=[_encoded(NEW)], bytes_per_message=limit)
    most = settings.sender_limits.bytes_per_message
    # As many characters as the limit allows, by the size of their escaped form.
    count = (most - 128 - 4) // len(json.dumps(char)[1:-1])
    ring = load_keyring(settings)
    assert ring is not None
    body_bytes = len(ring.seal([char * count], Purpose.TEXTS, "0" * 36)) + 128
    assert body_bytes <= limit


def test_a_client_without_keys_needs_no_cryptography() -> None:
    # It cannot be imported there; other packages try, and do without it.
    script = "import sys; sys.modules['cryptography'] = None; import sentq; sentq.Client().close()"
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True, timeout=60)


def test_a_missing_package_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(SettingsError, match=r'pip install "sentq\[encryption\]"'):
        Keyring([NEW])
