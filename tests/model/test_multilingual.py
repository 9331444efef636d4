"""The multilingual model's recipe: its packed body, its pieces, and its rows."""

from __future__ import annotations

import gzip
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

_RECIPE = Path(__file__).parents[2] / "model" / "recipe"
sys.path += [str(_RECIPE), str(_RECIPE / "multilingual")]

import body  # noqa: E402
import pieces  # noqa: E402
import rows  # noqa: E402
from packed import Packed  # noqa: E402

_PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581good", "\u2581a", "ok", "\u4e2d", "<mask>"]
_HIDDEN, _WIDE, _POSITIONS = 32, 64, 8


def packed_file(folder: Path) -> Path:
    """Write a packed model of one layer; each weight of a matrix is its place modulo 16, less 8,
    times the number of its row."""
    shape = (_HIDDEN, 1, 2, _WIDE, len(_PIECES), _POSITIONS, 2)
    text = "".join(_PIECES).encode()
    ends = [len("".join(_PIECES[:n]).encode()) for n in range(len(_PIECES) + 1)]
    head = b"E5S1" + struct.pack("<I7ifi", 1, *shape, 1e-12, 32)
    head += struct.pack("<5iQ", len(_PIECES), 0, 2, 1, 3, len(text))
    head += struct.pack(f"<{len(ends)}I{len(_PIECES)}f", *ends, *map(float, range(len(_PIECES))))
    head += text + struct.pack("<iI", 1, 9) + b"normalize"
    matrices = {"emb.word": (len(_PIECES), _HIDDEN), "l0.fi.w": (_WIDE, _HIDDEN)}
    matrices |= {f"l0.{name}.w": (_HIDDEN, _HIDDEN) for name in ("q", "k", "v", "ao")}
    matrices["l0.fo.w"] = (_HIDDEN, _WIDE)
    arrays = {"emb.pos": _POSITIONS * _HIDDEN, "emb.type": 2 * _HIDDEN, "l0.fi.b": _WIDE}
    arrays |= {f"l0.{name}.b": _HIDDEN for name in ("q", "k", "v", "ao", "fo")}
    arrays |= {
        f"{name}.{part}": _HIDDEN for name in ("emb.ln", "l0.aln", "l0.oln") for part in "wb"
    }
    parts = {name: _blocks(*shape) for name, shape in matrices.items()}
    parts |= {name: np.arange(count, dtype="<f4").tobytes() for name, count in arrays.items()}
    head += struct.pack("<i", len(parts))
    offset = len(head) + sum(2 + len(name) + 21 for name in parts)
    for name, data in parts.items():
        count = arrays.get(name, 0)
        head += struct.pack("<H", len(name)) + name.encode()
        head += struct.pack("<BIQQ", 0, count, offset, len(data))
        offset += len(data)
    file = folder / "model.bin"
    file.write_bytes(head + b"".join(parts.values()))
    return file


def _blocks(rows: int, columns: int) -> bytes:
    pairs = bytes(n | n << 4 for n in range(16))  # weights n and n + 16 are both n
    per_row = columns // 32
    return b"".join(
        np.float16(row).tobytes() + pairs for row in range(rows) for _ in range(per_row)
    )


def test_a_packed_model_has_its_pieces_scores_and_weights(tmp_path: Path) -> None:
    packed = Packed(packed_file(tmp_path))
    assert packed.pieces == _PIECES
    assert packed.scores == [*map(float, range(len(_PIECES)))]
    expected = np.outer(np.arange(_WIDE), np.tile(np.arange(-8.0, 8.0), 2))
    assert np.array_equal(packed.matrix("l0.fi.w", _WIDE, _HIDDEN), expected)
    assert packed.array("emb.type", 2, _HIDDEN)[1, 0] == _HIDDEN


def test_another_file_is_no_packed_model(tmp_path: Path) -> None:
    file = tmp_path / "other.bin"
    file.write_bytes(b"other" * 100)
    with pytest.raises(ValueError, match="is not a packed model"):
        Packed(file)


def test_the_body_has_the_weights_of_the_kept_pieces(tmp_path: Path) -> None:
    packed = Packed(packed_file(tmp_path))
    model = body.model_of(packed, [0, 1, 2, 3, 6, 8])
    words = model.get_input_embeddings().weight.detach()
    assert words.shape == (6, _HIDDEN)
    assert words[4, 0] == -8 * 6
    assert words[5, 0] == -8 * 8


def test_kept_are_special_pieces_characters_and_what_is_frequent_in_any_source() -> None:
    often, rarely = {4: 0.9, 6: 0.1}, {4: 0.01, 6: 0.5}
    needed = [0, 1, 2, 3, 5, 8]  # `a` is a letter of a script that is kept
    assert pieces.choose(_PIECES, [often], count=6) == needed
    assert pieces.choose(_PIECES, [often], count=7) == sorted([*needed, 4])
    assert pieces.choose(_PIECES, [{4: 0.2}, rarely], count=7) == sorted([*needed, 6])


def test_a_share_is_that_of_all_pieces_and_what_is_rare_can_be_left_out() -> None:
    vocabulary = {"good": 4, "bad": 5, "<unk>": 3}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    texts = [("good good", 1.0), ("bad good", 1.0)]
    assert pieces.shares(texts, tokenizer) == {4: 0.75, 5: 0.25}
    assert pieces.shares(texts, tokenizer, above=1.0) == {4: 0.75}


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ("@ Some _ One kya baat", "@user kya baat"),
        ("RT @ pepsi a hit https // t . co / SUwcq5FQSv", "RT @user a hit http"),
        ("acha https // t co / xT4 👌", "acha http 👌"),
        ("good work https // t …", "good work http …"),
        ("# NGK mast # bhai", "#NGK mast #bhai"),
        ("mail me @ 5", "mail me @user"),
    ],
)
def test_the_tokens_of_a_tweet_become_its_text(tokens: str, text: str) -> None:
    assert rows.joined(tokens.split()) == text


def test_rows_set_aside_are_not_learned_and_labels_that_do_not_fit_are_not_used(
    tmp_path: Path,
) -> None:
    labels = ("negative", "neutral", "positive")
    languages = ("arabic", "french", "german", "italian", "portuguese", "spanish", "english")
    tweets: list[dict[str, Any]] = [
        {"text": f"tweet {language} {n}", "label": labels[n % 3], "lang": language}
        for language in (*languages[:6], "hindi")
        for n in range(960)
    ]
    _write(tmp_path / "data" / "umsab_multilingual_train.jsonl.gz", tweets)
    for language in languages:
        folder = tmp_path / "xlm" / "data" / "sentiment" / language
        folder.mkdir(parents=True)
        (folder / "val_text.txt").write_text(f"Tweet, {language} 1!\nwith\u2028two lines\n")
        (folder / "val_labels.txt").write_text("2\n0\n")
    (tmp_path / "mix").mkdir()
    block = "meta\t{}\tpositive\nbahut\tHin\nacha\tHin\ntweet\tEng\n{}\tO\n\n"
    (tmp_path / "mix" / "train_conll.txt").write_text(
        block.format(1, "x") * 2 + block.format(2, "y")
    )
    (tmp_path / "mix" / "trial_conll.txt").write_text(block.format(3, "y"))
    _write(
        tmp_path / "english" / "tweets.jsonl.gz", [{"text": "tweet english 1", "label": "neutral"}]
    )
    out = tmp_path / "out"
    rows.main(*(tmp_path / name for name in ("data", "xlm", "mix", "english", "out")))
    assert len(_texts(out / "train" / "german.jsonl.gz")) == 959
    assert _texts(out / "aside" / "german.jsonl.gz") == ["Tweet, german 1!", "with\u2028two lines"]
    assert _texts(out / "train" / "hinglish.jsonl.gz") == ["bahut acha tweet x"]
    assert _texts(out / "train" / "tweets.jsonl.gz") == []
    hindi = {part: _texts(out / part / "hindi.jsonl.gz") for part in ("train", "aside")}
    assert {*hindi["train"], *hindi["aside"]} == {f"tweet hindi {n}" for n in range(918, 960)}
    assert len(hindi["train"]) > len(hindi["aside"]) > 0


def _write(path: Path, given: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in given).encode()))


def _texts(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in gzip.decompress(path.read_bytes()).splitlines()]
