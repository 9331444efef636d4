"""Plain BERT classifiers: read with torch alone, with the logits and tokens of Transformers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from sentq_worker.engine.base import Window
from sentq_worker.inference.loading.load import load_model
from sentq_worker.inference.loading.plain_bert import PlainBert
from sentq_worker.inference.loading.plain_files import NotPlain, load_plain
from sentq_worker.inference.model import LocalEngine
from sentq_worker.inference.model_files import find_model
from tests.support.models.families import make_family_model
from tests.support.models.tiny import make_tiny_model

#: Texts at which tokenizers differ: case, accents, Chinese, controls, special tokens, long words.
TEXTS = [
    "A good day",
    "CAF\u00c9 \u00fcber na\u00efve e\u0301",
    "\u4e2d\u6587good\u4e2d",
    "a\u0000b\tc\u200bd\u00a0e\ufffd",
    "[CLS] good [SEP] bad [PAD] [MASK] [UNK] [cls]",
    " [MASK]  good[MASK]bad",
    "x" * 150,
    "",
    "don't -- (ugly)!?",
    "\U0001f600 so sad \U0001f44d",
]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layers": 4, "heads": 8, "hidden": 64},
        {"labels": ("no", "yes"), "heads": 1},
        {"max_positions": 17, "spread": 0.02},
    ],
)
def test_logits_are_those_of_transformers(options: dict[str, Any], tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path, **options)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    model = load_plain(folder).model
    ids = torch.randint(5, 60, (6, 13), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(13) < torch.tensor([13, 1, 7, 12, 2, 13])[:, None]).long()
    with torch.inference_mode():
        for arguments in ({}, {"attention_mask": mask}):
            expected = theirs(input_ids=ids, **arguments).logits
            assert torch.allclose(model(input_ids=ids, **arguments).logits, expected, atol=1e-5)
    assert expected.std() > 1e-4


@pytest.mark.parametrize("make", [make_tiny_model, partial(make_family_model, family="Bert")])
def test_tokens_are_those_of_transformers(make: Callable[[Path], Path], tmp_path: Path) -> None:
    folder = make(tmp_path)
    loaded, theirs = load_plain(folder), AutoTokenizer.from_pretrained(folder)
    assert loaded.special_tokens == theirs.num_special_tokens_to_add()
    assert loaded.max_tokens == theirs.model_max_length
    for text in TEXTS:
        assert loaded.tokenizer.encode(text).ids == theirs(text)["input_ids"], text


@pytest.mark.slow
def test_the_bundled_model_is_read_with_torch_alone() -> None:
    pytest.importorskip("sentq_model")
    files = find_model(None)
    loaded, theirs = load_plain(files.folder), AutoTokenizer.from_pretrained(files.folder)
    auto = AutoModelForSequenceClassification
    model = auto.from_pretrained(files.folder, dtype=torch.float32).eval()
    for text in TEXTS:
        ids = loaded.tokenizer.encode(text).ids
        assert ids == theirs(text)["input_ids"], text
        with torch.inference_mode():
            expected = model(torch.tensor([ids])).logits
            logits = loaded.model.float()(torch.tensor([ids])).logits
            assert torch.allclose(logits, expected, atol=1e-4)


@pytest.mark.parametrize("keeps_trials", [False, True])
def test_weights_in_fewer_bits_are_computed_in_fp32(tmp_path: Path, *, keeps_trials: bool) -> None:
    folder = make_tiny_model(tmp_path / "model")
    file = folder / "model.safetensors"
    save_file({name: weight.half() for name, weight in load_file(file).items()}, file)
    theirs = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    window = Window([2, 10, 11, 12, 3], 3)
    with torch.inference_mode():
        expected = theirs(torch.tensor([window.token_ids])).logits.softmax(-1)[0].tolist()
    trial_folder = tmp_path / "trials" if keeps_trials else None
    for _ in range(3):
        engine = LocalEngine(
            find_model(str(folder)), device="cpu", threads=1, trial_folder=trial_folder
        )
        assert engine.predict([window])[0] == pytest.approx(expected, abs=1e-6)
        assert engine.predict_precisely(window) == pytest.approx(expected, abs=1e-6)


_PROBE = """
import sys
import sentq_worker.app, sentq_worker.cli
from sentq.contract import Limits
from sentq_worker.providers.loading import load_scorer
from sentq_worker.settings import WorkerSettings
scorer = load_scorer(WorkerSettings.load(model=sys.argv[1], keep_trials=False), Limits())
scorer.score([["a good day"]])
print(*sys.modules)
"""


@pytest.mark.slow
def test_a_worker_does_not_import_what_a_plain_model_does_not_need(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    command = [sys.executable, "-c", _PROBE, str(folder)]
    imported = set(
        subprocess.run(command, capture_output=True, check=True, text=True).stdout.split()
    )
    assert "torch" in imported
    for name in ("transformers", "huggingface_hub", "torch._dynamo", "sympy", "scipy", "sklearn"):
        assert name not in imported


def _change(name: str, **entries: object) -> Callable[[Path], None]:
    """Return what changes entries of a JSON file; a path of keys is separated by dots."""

    def apply(folder: Path) -> None:
        file = folder / name
        document = json.loads(file.read_text())
        for path, value in entries.items():
            *parents, last = path.split("__")
            place = document
            for key in parents:
                place = place[int(key) if key.isdigit() else key]
            place[last] = value
        file.write_text(json.dumps(document))

    return apply


def _drop(name: str, entry: str) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        document = json.loads((folder / name).read_text())
        del document[entry]
        (folder / name).write_text(json.dumps(document))

    return apply


def _weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        file = folder / "model.safetensors"
        weights = load_file(file)
        change(weights)
        save_file(weights, file)

    return apply


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def _append_token(folder: Path) -> None:
    document = json.loads((folder / "tokenizer.json").read_text())
    document["added_tokens"].append(document["added_tokens"][-1] | {"id": 90, "content": "good"})
    (folder / "tokenizer.json").write_text(json.dumps(document))


#: Each changes the files of a plain BERT so that Transformers has to read them.
_UNCOMMON: dict[str, Callable[[Path], object]] = {
    "an unknown entry": _change("config.json", quantization_config={}),
    "another activation": _change("config.json", hidden_act="relu"),
    "relative positions": _change("config.json", position_embedding_type="relative_key"),
    "a decoder": _change("config.json", is_decoder=True),
    "another class": _change("config.json", architectures=["BertForMaskedLM"]),
    "code of its own": _change("config.json", auto_map={"AutoModel": "evil.Model"}),
    "a kernel of the Hub": _change("config.json", _attn_implementation="owner/kernel"),
    "labels with a gap": _change("config.json", id2label={"0": "a", "1": "b", "3": "c"}),
    "no labels": _drop("config.json", "id2label"),
    "one label of several": _change("config.json", id2label={"0": "only"}),
    "unequal heads": _change("config.json", num_attention_heads=3),
    "fewer layers": _change("config.json", num_hidden_layers=1),
    "more layers": _change("config.json", num_hidden_layers=3),
    "another width": _change("config.json", intermediate_size=65),
    "a text for a number": _change("config.json", num_hidden_layers="2"),
    "no config": _write("config.json", "["),
    "a missing weight": _weights(lambda weights: weights.pop("classifier.bias")),
    "a weight more": _weights(lambda weights: weights.update(more=torch.zeros(1))),
    "integers": _weights(
        lambda weights: weights.update({"classifier.bias": torch.zeros(3, dtype=torch.int8)})
    ),
    "two files of weights": lambda folder: save_file({}, folder / "other.safetensors"),
    "a damaged file": _write("model.safetensors", "damaged"),
    "another tokenizer": _change("tokenizer_config.json", tokenizer_class="RobertaTokenizer"),
    "an option of tokenizers": _change("tokenizer_config.json", from_slow=True),
    "a prefix": _change("tokenizer_config.json", add_prefix_space=True),
    "more special tokens": _change("tokenizer_config.json", extra_special_tokens=["[NEW]"]),
    "a special token that is missing": _change("tokenizer_config.json", mask_token="<mask>"),
    "case kept, but not by its normaliser": _change("tokenizer_config.json", do_lower_case=False),
    "another normaliser": _change("tokenizer.json", normalizer__strip_accents=False),
    "no normaliser": _change("tokenizer.json", normalizer=None),
    "other words": _change("tokenizer.json", pre_tokenizer={"type": "Whitespace"}),
    "another unknown token": _change("tokenizer.json", model__unk_token="[PAD]"),
    "longer words": _change("tokenizer.json", model__max_input_chars_per_word=20),
    "a token with spaces": _change("tokenizer.json", added_tokens__4__lstrip=True),
    "a token more": _append_token,
    "no special tokens around a text": _change("tokenizer.json", post_processor=None),
    "a tokenizer that cannot be read": _write("tokenizer.json", "{"),
    "tokens of older versions": _write("added_tokens.json", "{}"),
}


@pytest.mark.parametrize("name", _UNCOMMON)
def test_anything_uncommon_is_left_to_transformers(name: str, tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    assert isinstance(load_model(find_model(str(folder))).model, PlainBert)
    _UNCOMMON[name](folder)
    with pytest.raises(NotPlain):
        load_plain(folder)


@pytest.mark.parametrize(
    "name", ["case kept, but not by its normaliser", "another normaliser", "a token with spaces"]
)
def test_transformers_reads_what_is_uncommon(name: str, tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path)
    _UNCOMMON[name](folder)
    loaded, theirs = load_model(find_model(str(folder))), AutoTokenizer.from_pretrained(folder)
    assert not isinstance(loaded.model, PlainBert)
    for text in TEXTS:
        assert loaded.tokenizer.encode(text).ids == theirs(text)["input_ids"], text
