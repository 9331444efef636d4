"""The results of an evaluation as text: tables on a terminal, lines in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sentq_worker.evaluate.formatting import MEASURE_NAMES, percent

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, JustifyMethod, RenderableType

    from sentq_worker.evaluate.behaviour import CaseResult
    from sentq_worker.evaluate.measures import Measures, Mistake
    from sentq_worker.evaluate.results import BehaviourResult, Evaluation

__all__ = ["lines", "show_tables"]

#: Width of a bar of 100%, in characters.
_BAR_CELLS = 20


def lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield one line per file and model, then one per capability and model."""
    are_two = len(evaluation.models) > 1
    for file in evaluation.files:
        for facts, measures in zip(evaluation.models, file.measures, strict=True):
            yield (
                f"{file.name}{f', {facts.name}' if are_two else ''}: "
                f"{measures.figures.rows:,} texts, {measures.figures.line()}"
                f", ECE {measures.calibration.ece:.4f}"
                f" ({measures.errors} errors, {measures.texts_per_s:,.0f} texts/s)"
            )
    if evaluation.behaviour is None:
        return
    for facts, behaviour in zip(evaluation.models, evaluation.behaviour.behaviours, strict=True):
        model = f", {facts.name}" if are_two else ""
        for name, tally in {**behaviour.capabilities, "all": behaviour.overall}.items():
            share = percent(tally.share)
            yield f"behaviour{model}, {name}: {tally.passed} of {tally.cases}, {share}%"


def show_tables(evaluation: Evaluation, console: Console, *, most: int) -> None:
    """Print all results but the reliability plots, with at most `most` failed cases."""
    for table in _tables(evaluation, most=most):
        console.print(table)
        console.print()


def _tables(evaluation: Evaluation, *, most: int) -> Iterator[RenderableType]:
    yield _heading(evaluation)
    if evaluation.files:
        yield _titled("Figures, in %", _figures(evaluation))
    if any(file.comparisons for file in evaluation.files):
        first, second = (facts.name for facts in evaluation.models)
        yield _titled(
            f"{first} minus {second}, in points; p by McNemar's exact test",
            _comparisons(evaluation),
        )
    for file in evaluation.files:
        for facts, measures, mistakes in zip(
            evaluation.models, file.measures, file.mistakes, strict=True
        ):
            name = f"{file.name}, {facts.name}" if len(evaluation.models) > 1 else file.name
            yield _titled(f"{name}: confusion of labels", _confusion(measures))
            if mistakes:
                yield _titled(f"{name}: the mistakes with the highest scores", _mistakes(mistakes))
    if evaluation.behaviour is None:
        return
    yield _titled("Behaviour: cases passed, in %", _capabilities(evaluation, evaluation.behaviour))
    for facts, behaviour in zip(evaluation.models, evaluation.behaviour.behaviours, strict=True):
        failures = behaviour.failures
        if shown := _evenly(failures, most):
            title = f"{facts.name}: {len(shown)} of the {len(failures)} cases that failed"
            yield _titled(title, _failures(shown))


def _heading(evaluation: Evaluation) -> Text:
    heading = Text()
    for number, facts in enumerate(evaluation.models):
        if number:
            heading.append("\nagainst  ", style="dim")
        heading.append(facts.name, style="bold")
        heading.append(
            f"  {(facts.revision or '')[:19]}  {facts.backend}  {facts.dtype}", style="dim"
        )
    return heading


def _table(*columns: str, words: int = 1) -> Table:
    """Return a table whose first `words` columns are text, and whose others are numbers.

    On a narrow terminal the first column is folded.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for number, column in enumerate(columns):
        justify: JustifyMethod = "left" if number < words else "right"
        table.add_column(column, justify=justify, no_wrap=number > 0, overflow="fold")
    return table


def _titled(title: str, table: Table) -> Group:
    return Group(Text(title, style="bold", no_wrap=True, overflow="ellipsis"), table)


def _figures(evaluation: Evaluation) -> Table:
    table = _table(
        *("file", "texts", "accuracy", "macro\nF1", "macro\nrecall", "polar", "ECE"),
        *("errors", "texts/s"),
    )
    for file in evaluation.files:
        names = _rows_of(evaluation, file.name, table)
        for name, one in zip(names, file.measures, strict=True):
            figures = one.figures
            table.add_row(
                name,
                f"{figures.rows:,}",
                Text(percent(figures.accuracy), style="bold"),
                percent(figures.macro_f1),
                percent(figures.macro_recall),
                percent(figures.polar_accuracy),
                percent(one.calibration.ece),
                f"{one.errors:,}",
                f"{one.texts_per_s:,.0f}",
            )
    if len(evaluation.files) > 1:
        table.add_section()
        names = _rows_of(evaluation, "mean of files", table)
        for name, average in zip(names, evaluation.averages, strict=True):
            table.add_row(name, "", *map(percent, average.values()))
    return table


def _rows_of(evaluation: Evaluation, name: str, table: Table) -> list[Text]:
    """Return the first cell of the row of each model.

    With two models, a row with the name is added above, which leaves room for long names.
    """
    if len(evaluation.models) == 1:
        return [Text(name)]
    table.add_row(Text(name))
    return [Text(f"  {facts.name}") for facts in evaluation.models]


def _comparisons(evaluation: Evaluation) -> Table:
    table = _table("", "difference", "95% interval", "only one correct", "p")
    for file in evaluation.files:
        table.add_row(Text(file.name))
        for name, test in file.comparisons.items():
            table.add_row(
                f"  {MEASURE_NAMES[name]}",
                Text(percent(test.difference, signed=True), style="bold"),
                f"{percent(test.low, signed=True)} to {percent(test.high, signed=True)}",
                f"{test.only_first:,} : {test.only_second:,}",
                Text(f"{test.p_value:.2g}", style="bold" if test.is_significant else ""),
            )
    return table


def _confusion(measures: Measures) -> Table:
    names = [one.label for one in measures.labels]
    table = _table("label", *names, "recall %", "precision %")
    for number, (one, row) in enumerate(zip(measures.labels, measures.confusion, strict=True)):
        cells = [
            Text(f"{count:,}", style="bold" if column == number else "")
            for column, count in enumerate(row)
        ]
        table.add_row(Text(one.label), *cells, percent(one.recall), percent(one.precision))
    return table


def _mistakes(mistakes: Sequence[Mistake]) -> Table:
    with_text = any(one.text is not None for one in mistakes)
    table = _table("label", "prediction", "score", "line", words=2)
    if with_text:
        table.add_column("text")
    for one in mistakes:
        shown = [_one_line(one.text)] if one.text is not None else []
        place = "-" if one.place is None else str(one.place)
        table.add_row(Text(one.label), Text(one.guess), f"{one.score:.3f}", place, *shown)
    return table


def _capabilities(evaluation: Evaluation, result: BehaviourResult) -> Table:
    table = _table("capability", "cases", *(facts.name for facts in evaluation.models))
    table.add_column()
    for name, tallies in result.capabilities.items():
        first = next(tally for tally in tallies if tally is not None)
        shares = [None if tally is None else tally.share for tally in tallies]
        table.add_row(name, str(first.cases), *map(percent, shares), _bar(first.share))
    table.add_section()
    overall = [one.overall for one in result.behaviours]
    all_shares = [percent(tally.share) for tally in overall]
    table.add_row("all", str(overall[0].cases), *all_shares, _bar(overall[0].share))
    if result.comparison is not None:
        table.caption = Text(
            f"difference {percent(result.comparison.difference, signed=True)} points,"
            f" p {result.comparison.p_value:.2g} (McNemar, exact)"
        )
    return table


def _failures(failures: Sequence[CaseResult]) -> Table:
    table = _table("case", "expected", "answers", words=3)
    table.add_column("texts")
    for one in failures:
        answers = "\n".join(answer or "none" for answer in one.answers)
        texts = Text("\n").join(_one_line(text) for text in one.case.texts)
        texts.no_wrap, texts.overflow = True, "ellipsis"
        table.add_row(one.case.id, one.case.expectation.replace(", ", "\n"), answers, texts)
    return table


def _evenly(failures: Sequence[CaseResult], most: int) -> list[CaseResult]:
    """Pick failures at regular distances, so that all capabilities are represented."""
    step = max(1.0, len(failures) / most) if most else 0.0
    return [failures[int(at * step)] for at in range(min(most, len(failures)))]


def _bar(share: float) -> Text:
    good, fair = 0.9, 0.7
    colour = "green" if share >= good else "yellow" if share >= fair else "red"
    return Text("█" * round(_BAR_CELLS * share), style=colour)


def _one_line(text: str) -> Text:
    """Return the text on one line, without control characters, truncated to the width."""
    words = "".join(c if c.isprintable() else " " for c in text).split()
    return Text(" ".join(words), no_wrap=True, overflow="ellipsis")
