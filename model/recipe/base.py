"""Prepares the folder that the bundled model's training starts from: a body, and rules of reading.

    python model/recipe/base.py BODY OUT

The rules go into tokenizer.json, where every loader applies them, in training and in use alike:
names and links of tweets become the two marks that the tweets at hand have, emoji that BERT's
vocabulary lacks become words and emoticons that it knows, and the treebank's spelling becomes
everybody's ("do n't", "-lrb-").
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from tokenizers import Regex, Tokenizer
from tokenizers.normalizers import Normalizer, Replace, Sequence

#: Pattern and what to read instead, in the order of application.
RULES = (
    (r"(?:https?://|www\.)\S+", "http"),
    # Not after a letter or a full stop: that is an address of mail.
    (r"(?<![\w@.])@\w+", "@user"),
    ("\u2019", "'"),
    (r"\s+(?=n't\b)", ""),
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


def reader(plain: Normalizer) -> Normalizer:
    """Return the tokenizer's own normaliser behind the rules."""
    return Sequence([*(Replace(Regex(pattern), mark) for pattern, mark in RULES), plain])


def prepare(body: Path, out: Path) -> None:
    """Copy the body's weights, and write its tokenizer with the rules in it."""
    out.mkdir(parents=True, exist_ok=True)
    for name in ("config.json", "model.safetensors"):
        shutil.copyfile(body / name, out / name)
    tokenizer = Tokenizer.from_file(str(body / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.normalizer = reader(tokenizer.normalizer)
    tokenizer.save(str(out / "tokenizer.json"))
    config = json.loads((body / "tokenizer_config.json").read_text(encoding="utf-8"))
    special = {name: token for name, token in config.items() if name.endswith("_token")}
    # Transformers 5 makes a normaliser of its own for BertTokenizer, whatever the file says.
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 512}
    text = json.dumps({**special, **kind}, indent=2, sort_keys=True)
    (out / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    prepare(Path(sys.argv[1]), Path(sys.argv[2]))
