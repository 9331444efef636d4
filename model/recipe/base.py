"""Prepare the base of the bundled model: pretrained weights, and normalisation rules.

    python model/recipe/base.py BODY OUT

The rules are stored in tokenizer.json, so that every loader applies them, in training and in use.
Names and links become the two placeholders that the tweets of the data have. Emoji that BERT's
vocabulary lacks become words and emoticons that it has. The treebank's spelling ("do n't",
"-lrb-") becomes ordinary spelling.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.normalizers import Normalizer, Replace, Sequence

#: Pattern and replacement, in the order of application.
RULES = (
    (r"(?:https?://|www\.)\S+", "http"),
    # Not after a letter or a full stop: that is an e-mail address.
    (r"(?<![\w@.])@\w+", "@user"),
    ("\u2019", "'"),
    # The look-behind keeps the time linear: without it each space of a run starts a match anew.
    (r"(?<!\s)\s+(?=n't\b)", ""),
    (r"(?i)-lrb-", "("),
    (r"(?i)-rrb-", ")"),
    ("[😀😃😄😁😊🙂☺😎😇🤗😋😌😏😉😜😝😛🤪🥳🤩]", " :) "),
    ("[😂🤣😆😅😹]", " haha "),
    ("[😍🥰😘😗😙😚😻❤♥♡💕💖💗💓💞💘💝💙💚💛💜🧡🖤🤍]", " love "),
    ("[😢😭😔😞😟🙁☹😥😿😓😩😫😖😣🥺💔]", " :( "),
    ("[😡😠🤬😤👿🤮🤢💩🙄😒😑]", " ugh "),
    ("[👍👌👏🙌💯🎉✨🔥💪🏆🌟⭐]", " great "),
    ("👎", " bad "),
)


def with_rules(plain: Normalizer) -> Normalizer:
    """Return a normaliser that applies the rules before the tokenizer's own normaliser."""
    return Sequence([*(Replace(Regex(pattern), mark) for pattern, mark in RULES), plain])


def prepare(body: Path, out: Path) -> None:
    """Copy the weights of the body, and write its tokenizer with the rules."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(body / name, out / name)
    tokenizer = Tokenizer.from_file(str(body / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.normalizer = with_rules(tokenizer.normalizer)
    tokenizer.save(str(out / "tokenizer.json"))
    config = json.loads((body / "tokenizer_config.json").read_text(encoding="utf-8"))
    special = {name: token for name, token in config.items() if name.endswith("_token")}
    # For BertTokenizer, Transformers 5 ignores the normaliser in the file and builds its own.
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    text = json.dumps({**special, **kind}, indent=2, sort_keys=True)
    (out / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
