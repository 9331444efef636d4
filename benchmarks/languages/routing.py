"""A mixed stream of ten languages through one worker with two models, beside each model alone.

    python -m benchmarks.languages.routing [--json] [--texts N] [--rows FILE …] [--second FOLDER]

One run starts three workers, one after the other, each with one thread: with the first model, with
the second one, and with both and `on_other_language = "route"`. The first two score the texts of
their own languages alone; the third scores all of them, in a random order.

The first model is the bundled one. `--second` names the folder of a model that reads the other
languages. By default the bundled model stands in for it: it is loaded a second time, so that rates
and memory are those of two models of this size, and its scores mean nothing.

`--rows` names files as `python -m benchmarks.languages` reads them. By default the texts are one to
four sentences, made from parts. `right` is the share of texts that the model of their language has
scored; those whose language is not certain stay with the first model.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain, product
from pathlib import Path
from typing import Final, NamedTuple

import sentq_model
from benchmarks.figures import argument_parser, show
from benchmarks.languages.measuring import TextInLanguage, rows_of
from sentq import Client, Outcome, Prediction
from sentq.dev.embedded import find_redis_server
from tests.support.processes import RedisProcess, WorkerProcess, worker_environment

__all__ = ["make_rows"]

#: The language of the first model.
_FIRST: Final = "en"

#: By language: subjects, and what is said of them.
_PARTS: Final[Mapping[str, tuple[Sequence[str], Sequence[str]]]] = {
    "en": (
        ("The room on the upper floor", "Our breakfast this morning", "The lady at the desk"),
        ("was far better than expected", "was a disappointment", "made us very happy"),
    ),
    "es": (
        ("La habitación del piso de arriba", "El desayuno de esta mañana", "La recepcionista"),
        ("fue mucho mejor de lo esperado", "fue una decepción", "nos hizo muy felices"),
    ),
    "fr": (
        ("La chambre de l'étage", "Le petit déjeuner de ce matin", "La dame de l'accueil"),
        ("était bien mieux que prévu", "était une déception", "nous a rendus très heureux"),
    ),
    "de": (
        ("Das Zimmer im oberen Stock", "Unser Frühstück heute Morgen", "Die Dame am Empfang"),
        ("war viel besser als erwartet", "war eine Enttäuschung", "hat uns sehr gefreut"),
    ),
    "it": (
        ("La camera al piano di sopra", "La colazione di questa mattina", "La signora alla cassa"),
        ("era molto meglio del previsto", "è stata una delusione", "ci ha resi molto felici"),
    ),
    "pt": (
        ("O quarto do andar de cima", "O nosso café da manhã de hoje", "A senhora da recepção"),
        ("foi muito melhor do que esperado", "foi uma decepção", "deixou-nos muito felizes"),
    ),
    "nl": (
        ("De kamer op de bovenverdieping", "Ons ontbijt van vanochtend", "De dame aan de balie"),
        ("was veel beter dan verwacht", "was een teleurstelling", "maakte ons erg gelukkig"),
    ),
    "pl": (
        ("Pokój na górnym piętrze", "Nasze śniadanie dziś rano", "Pani w recepcji"),
        ("był dużo lepszy niż myśleliśmy", "było rozczarowaniem", "bardzo nas ucieszyło"),
    ),
    "ar": (
        ("الغرفة في الطابق العلوي", "فطورنا هذا الصباح", "السيدة في الاستقبال"),
        ("كانت أفضل بكثير مما توقعنا", "كان مخيبا للآمال", "جعلتنا سعداء جدا"),
    ),
    "hi": (
        ("ऊपर की मंज़िल का कमरा", "आज सुबह का हमारा नाश्ता", "स्वागत कक्ष की महिला"),
        ("उम्मीद से कहीं बेहतर था", "निराशाजनक था", "ने हमें बहुत खुश किया"),
    ),
}

_TEXTS_PER_JOB: Final = 16
_TIMEOUT_S: Final = 600


def make_rows(count: int) -> list[TextInLanguage]:
    """Return different texts, as many of each language, in a random order that is always the same.

    Each has one to four sentences, and a number, so that no score is reused.
    """
    rng = random.Random(0)  # noqa: S311 - not a secret
    languages = list(_PARTS)
    rows = []
    for number in range(count):
        language = languages[number % len(languages)]
        sentences = [f"{subject} {said}." for subject, said in product(*_PARTS[language])]
        text = " ".join(rng.sample(sentences, rng.randint(1, 4)))
        rows.append(TextInLanguage(f"{text} {number}", language))
    rng.shuffle(rows)
    return rows


def read_rows(files: Sequence[str], count: int) -> list[TextInLanguage]:
    """Return rows of files, as many of each language as far as there are, in a random order."""
    by_language: defaultdict[str, list[TextInLanguage]] = defaultdict(list)
    for row in chain.from_iterable(map(rows_of, files)):
        by_language[row.language].append(row)
    each = -(-count // len(by_language))
    rows = [row for some in by_language.values() for row in some[:each]][:count]
    random.Random(0).shuffle(rows)  # noqa: S311 - not a secret
    return rows


class Measured(NamedTuple):
    """What one worker did.

    Attributes:
        outcomes: The outcomes of the texts, in order.
        seconds: How long they took.
        cpu_s: The CPU time of the worker for them, which other programs change less.
        memory_mb: The memory of the worker after them.
        start_s: How long it took to start.
    """

    outcomes: Sequence[Outcome]
    seconds: float
    cpu_s: float
    memory_mb: float
    start_s: float


@contextmanager
def running_worker(folder: Path, environment: Mapping[str, str]) -> Iterator[WorkerProcess]:
    """Start a worker; stop it at the end."""
    worker = WorkerProcess(folder, dict(environment)).wait_until_ready()
    try:
        yield worker
    finally:
        worker.stop()


def measure(
    server: RedisProcess,
    folder: Path,
    model: Path,
    rows: Sequence[TextInLanguage],
    **variables: str,
) -> Measured:
    """Have a new worker score rows."""
    common = {"SENTQ_WORKER_DEVICE": "cpu", "SENTQ_WORKER_THREADS": "1"}
    environment = worker_environment(server.url, model) | common | variables
    began_s = time.monotonic()
    with running_worker(folder, environment) as worker, Client(broker_url=server.url) as client:
        start_s = time.monotonic() - began_s
        client.submit("A first text.").result(timeout=_TIMEOUT_S)
        began_s, began_cpu_s = time.monotonic(), _cpu_s(worker.process.pid)
        texts = (row.text for row in rows)
        outcomes = list(client.map(texts, texts_per_job=_TEXTS_PER_JOB, timeout=_TIMEOUT_S))
        seconds = time.monotonic() - began_s
        cpu_s = _cpu_s(worker.process.pid) - began_cpu_s
        status = Path(f"/proc/{worker.process.pid}/status").read_text()
    memory_kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS:"))
    return Measured(outcomes, seconds, cpu_s, int(memory_kib) * 1024 / 1e6, start_s)


def _cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def right_shares(rows: Sequence[TextInLanguage], outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return, by language and for all, the share of texts that the right model has scored."""
    seen: Counter[str] = Counter(row.language for row in rows)
    right: Counter[str] = Counter()
    for row, outcome in zip(rows, outcomes, strict=True):
        if isinstance(outcome, Prediction):
            right[row.language] += (outcome.model is None) == (row.language == _FIRST)
    shares = {f"right_{language}": right[language] / seen[language] for language in sorted(seen)}
    return {"right": right.total() / len(rows)} | shares


def compare(rows: Sequence[TextInLanguage], second: Path | None) -> dict[str, object]:
    """Return the figures of the three workers."""
    languages = sorted({row.language for row in rows} - {_FIRST})
    first = Path(sentq_model.folder())
    own = [row for row in rows if row.language == _FIRST]
    others = [row for row in rows if row.language != _FIRST]
    with tempfile.TemporaryDirectory(prefix="sentq-bench-") as name:
        folder = Path(name)
        other = second or first
        server = RedisProcess(find_redis_server(), folder, "--appendonly", "no").start()
        try:
            of_first = measure(server, folder, first, own)
            of_second = measure(
                server, folder, other, others, SENTQ_WORKER_LANGUAGES=",".join(languages)
            )
            models = {"second": {"model": str(other), "languages": languages}}
            both = measure(
                server,
                folder,
                first,
                rows,
                SENTQ_WORKER_MODELS=json.dumps(models),
                SENTQ_WORKER_ON_OTHER_LANGUAGE="route",
            )
        finally:
            server.stop()
    alone_s = of_first.seconds + of_second.seconds
    alone_cpu_s = of_first.cpu_s + of_second.cpu_s
    return {
        "texts": len(rows),
        "languages": len(languages) + 1,
        "second_model": other.name if second else "stand-in: the bundled one again",
        **{key: round(share, 4) for key, share in right_shares(rows, both.outcomes).items()},
        "first_alone_tps": round(len(own) / of_first.seconds, 1),
        "second_alone_tps": round(len(others) / of_second.seconds, 1),
        "both_tps": round(len(rows) / both.seconds, 1),
        "both_over_alone": round(alone_s / both.seconds, 3),
        "both_over_alone_by_cpu_time": round(alone_cpu_s / both.cpu_s, 3),
        "first_alone_mb": round(of_first.memory_mb),
        "second_alone_mb": round(of_second.memory_mb),
        "both_mb": round(both.memory_mb),
        "first_alone_start_s": round(of_first.start_s, 2),
        "both_start_s": round(both.start_s, 2),
    }


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    add = parser.add_argument
    add("--texts", type=int, default=2000, help="texts of all languages (%(default)s)")
    add("--rows", nargs="+", default=[], metavar="FILE[=CODE]", help="rows with text and lang")
    add("--second", type=Path, help="the folder of the second model")
    options = parser.parse_args()
    count = options.texts
    rows = read_rows(options.rows, count) if options.rows else make_rows(count)
    show(compare(rows, options.second), as_json=options.json)


if __name__ == "__main__":
    main()
