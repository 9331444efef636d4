"""The state of a run: what it reads and how, what scored it, and how much of it is written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from sentq.contract import Outcome
from sentq.files.formats import FileProblem
from sentq.files.reading.chunks import START, Chunk, Place
from sentq.files.run.scoring import ModelName
from sentq.files.run.tally import RunTally

__all__ = ["RunChanged", "RunState"]

#: The form of the state. A later form gets another number.
_FORM: Final = 1


class RunChanged(FileProblem):
    """What is written already is of another input, other options or another model."""


@dataclass(slots=True, kw_only=True)
class RunState:
    """What of a run is written.

    Attributes:
        where: What is written, for messages.
        inputs: What identifies the input; None for one that can be read only once.
        options: What changes the output, by the names of options.
        model: What scored the parts; None as long as no text was scored.
        parts: How many parts are written.
        end: The place in the input after the last of them.
        tally: What of them was counted.
    """

    where: str
    inputs: list[dict[str, object]] | None
    options: dict[str, object]
    model: ModelName | None = None
    parts: int = 0
    end: Place = START
    tally: RunTally = field(default_factory=RunTally)

    @classmethod
    def from_json(cls, where: str, found: Mapping[str, Any]) -> Self:
        """Return the state that `as_json` wrote.

        Raises:
            ValueError: It is of another version.
            LookupError: As for `ValueError`.
            TypeError: As for `ValueError`.
        """
        if found["form"] != _FORM:
            raise ValueError("the state of another version")
        model = found["model"]
        return cls(
            where=where,
            inputs=found["inputs"],
            options=found["options"],
            model=None if model is None else ModelName(*model),
            parts=found["parts"],
            end=Place(*found["end"]),
            tally=RunTally.from_json(found["tally"]),
        )

    def as_json(self) -> dict[str, Any]:
        """Return what `from_json` reads."""
        return {
            "form": _FORM,
            "inputs": self.inputs,
            "options": self.options,
            "model": self.model,
            "parts": self.parts,
            "end": self.end,
            "tally": self.tally.as_json(),
        }

    def add(self, chunk: Chunk, outcomes: Sequence[Outcome]) -> None:
        """Count a chunk that is written as a part."""
        self.parts += 1
        self.end = chunk.end
        self.tally.add(outcomes)
        self.tally.add_lengths(chunk.texts)

    def check_same(
        self, inputs: list[dict[str, object]] | None, options: Mapping[str, object]
    ) -> None:
        """Check that an input and options are those of the parts.

        Raises:
            RunChanged: They are not; the message says what changed.
        """
        if self.inputs is None or inputs is None:
            raise RunChanged(
                f"{self.where} has parts of an input that could be read only once, such as a "
                "pipe: --restart discards them and begins anew"
            )
        changes = [*_changed_inputs(self.inputs, inputs), *_changed_options(self.options, options)]
        if changes:
            raise RunChanged(
                f"{self.where} has {self.tally.rows:,} scored rows of another run: "
                f"{'; '.join(changes)}. --restart discards them and begins anew"
            )

    def check_model(self, model: ModelName | None) -> None:
        """Check that a model is that of the parts; the first one is.

        Raises:
            RunChanged: It is another one.
        """
        if model is None or model == self.model:
            return
        if self.model is not None:
            raise RunChanged(
                f"{self.tally.rows:,} rows were scored by {self.model}, and now {model} answers: "
                "the two are not mixed. Go on with workers of the first model, or begin anew with "
                "--restart"
            )
        self.model = model


def _changed_inputs(before: list[dict[str, object]], now: list[dict[str, object]]) -> Iterator[str]:
    if len(before) != len(now):
        yield f"the input had {len(before)} files and has {len(now)}"
        return
    for old, new in zip(before, now, strict=True):
        if "sha256" in old and "sha256" in new:
            if old["sha256"] != new["sha256"]:
                yield f"the input {new['name']} has changed ({_size(old)}; now {_size(new)})"
            continue
        for fact in dict.fromkeys([*old, *new]):
            if fact != "name" and old.get(fact) != new.get(fact):
                yield (
                    f"of the input {new['name']} {fact} was {_shown(old.get(fact))} and is "
                    f"{_shown(new.get(fact))}"
                )


def _size(file: Mapping[str, Any]) -> str:
    return f"{file['bytes']:,} bytes, SHA-256 {str(file['sha256'])[:12]}"


def _changed_options(before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for name in dict.fromkeys([*before, *now]):
        if before.get(name) != now.get(name):
            yield f"{name} was {_shown(before.get(name))} and is {_shown(now.get(name))}"


def _shown(value: Any) -> str:
    return "not given" if value is None else str(value)
