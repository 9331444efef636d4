"""`manage.py sentq_score`: texts of rows are scored, and a later run continues an earlier one."""

from __future__ import annotations

import json
import uuid
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test.utils import CaptureQueriesContext

from sentq import Client, Prediction, TextError
from sentq.contract import ErrorCode
from sentq.contrib.django import scoring
from sentq.contrib.django.scoring import Row, SavedFields, TextColumn, scored_rows
from tests.producer.contrib.django.conftest import Configure
from tests.support.django_site.models import Comment, Feedback
from tests.support.models.providers import prediction
from tests.support.processes import RedisProcess
from tests.support.workers.standin import hash_score

ERROR = TextError(code=ErrorCode.NONFINITE, message="a score is not a number")


def _call(*arguments: str, **options: Any) -> tuple[str, str]:
    """Run the command; return what it printed."""
    out, err = StringIO(), StringIO()
    call_command("sentq_score", *arguments, stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def _refused(*arguments: str, code: int = 2) -> str:
    with pytest.raises(CommandError) as caught:
        _call(*arguments)
    assert caught.value.returncode == code
    return str(caught.value)


def _reviews(count: int) -> list[Feedback]:
    created: list[Feedback] = Feedback.objects.bulk_create(
        Feedback(body=f"text {number}") for number in range(count)
    )
    return created


# --- With a worker ----------------------------------------------------------------------------


@pytest.mark.usefixtures("scored_project")
def test_outcomes_are_saved_in_fields_of_the_rows() -> None:
    _reviews(300)
    Feedback.objects.create(body="")
    _, said = _call(
        "django_site.Feedback", "--field", "body", "--save", "label=mood", "score=polarity"
    )
    assert "rows saved: 300" in said
    for review in Feedback.objects.exclude(body=""):
        assert review.polarity == pytest.approx(hash_score(review.body))
        assert review.mood == prediction(hash_score(review.body)).label
    assert Feedback.objects.get(body="").polarity is None


@pytest.mark.slow
@pytest.mark.usefixtures("scored_project")
def test_the_same_command_scores_only_what_is_missing(scored_project: RedisProcess) -> None:
    _reviews(100)
    Feedback.objects.filter(pk__in=Feedback.objects.values("pk")[:40]).update(polarity=9.0)
    command = ("django_site.Feedback", "--field", "body", "--save", "score=polarity")
    assert "rows saved: 60" in _call(*command)[1]
    assert Feedback.objects.filter(polarity=9.0).count() == 40
    assert "rows saved: 0" in _call(*command)[1]
    assert "rows saved: 100" in _call(*command, "--all")[1]
    assert Feedback.objects.filter(polarity=9.0).count() == 0


@pytest.mark.slow
@pytest.mark.usefixtures("scored_project")
def test_outcomes_are_written_as_json_lines() -> None:
    reviews = _reviews(3)
    printed, said = _call("django_site.Feedback", "--field", "body")
    lines = [json.loads(line) for line in printed.splitlines()]
    assert [(line["pk"], line["score"]) for line in lines] == [
        (review.pk, hash_score(review.body)) for review in reviews
    ]
    assert "text" not in lines[0]
    assert said == ""


@pytest.mark.slow
@pytest.mark.usefixtures("scored_project")
def test_a_file_is_continued_after_its_last_complete_line(tmp_path: Path) -> None:
    keys = [uuid.UUID(int=number) for number in range(1, 8)]
    Comment.objects.bulk_create(Comment(pk=key, body=f"text {key.int}") for key in keys)
    Comment.objects.create(body=None)
    file = tmp_path / "scores.jsonl"
    command = ("django_site.Comment", "--field", "body", "--output", str(file))
    _call(*command)
    complete = file.read_bytes()
    assert len(complete.splitlines()) == 7
    assert "--resume continues it" in _refused(*command)

    # Killed while it wrote the fourth line.
    lines = complete.splitlines(keepends=True)
    file.write_bytes(b"".join(lines[:3]) + lines[3][:10])
    _call(*command, "--resume")
    assert [json.loads(line)["pk"] for line in file.read_bytes().splitlines()] == [
        str(key) for key in keys
    ]


@pytest.mark.slow
@pytest.mark.usefixtures("scored_project")
def test_rows_of_another_database_are_scored() -> None:
    Feedback.objects.using("other").create(body="elsewhere")
    _reviews(1)
    arguments = ("--field", "body", "--save", "score=polarity", "--database", "other")
    assert "rows saved: 1" in _call("django_site.Feedback", *arguments)[1]
    assert Feedback.objects.using("other").get().polarity == pytest.approx(hash_score("elsewhere"))
    assert Feedback.objects.get().polarity is None


@pytest.mark.slow
def test_an_interrupted_run_keeps_what_it_has_scored(
    scored_project: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    _reviews(200)
    score = Client.map

    def interrupted(self: Client, texts: Any, **options: Any) -> Any:
        for number, outcome in enumerate(score(self, texts, **options)):
            if number == 120:
                raise KeyboardInterrupt
            yield outcome

    command = ("django_site.Feedback", "--field", "body", "--save", "score=polarity")
    with monkeypatch.context() as patch:
        patch.setattr(Client, "map", interrupted)
        assert _refused(*command, code=130) == "interrupted"
    assert Feedback.objects.filter(polarity__isnull=False).count() == 120
    assert "rows saved: 80" in _call(*command)[1]


# --- Without a worker -------------------------------------------------------------------------


@pytest.mark.usefixtures("project")
def test_without_a_worker_the_command_says_so_and_ends_at_its_timeout() -> None:
    _reviews(1)
    message = _refused("django_site.Feedback", "--field", "body", "--timeout", "0.1", code=4)
    assert "no worker reports" in message


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shop.Feedback", "--field", "body"], "shop.Feedback is not a model"),
        (["Feedback", "--field", "body"], "Feedback is not a model"),
        (["django_site.Feedback", "--field", "bdy"], "has no field bdy; it has body, id, mood"),
        (["django_site.Feedback", "--field", "stars"], "stars is not a field of text"),
        (["django_site.Feedback", "--field", "body", "--save", "mood"], "is not PART=FIELD"),
        (["django_site.Feedback", "--field", "body", "--save", "x=mood"], "x is not a part"),
        (["django_site.Feedback", "--field", "body", "--save", "label=x"], "has no field x"),
        (["django_site.Feedback", "--field", "body", "--save", "score=stars"], "needs null=True"),
        (["django_site.Feedback", "--field", "body", "--resume"], "--resume needs --output"),
        (
            ["django_site.Feedback", "--field", "body", "--save", "label=mood", "--output", "f"],
            "choose --save or --output",
        ),
        (
            ["django_site.Feedback", "--field", "body", "--output", "/none/f"],
            "cannot write /none/f",
        ),
    ],
)
def test_mistakes_are_explained_before_anything_is_sent(
    arguments: list[str], message: str, project: RedisProcess
) -> None:
    _reviews(1)
    assert message in _refused(*arguments)
    with project.client() as redis:
        assert redis.llen("sentq.bulk") == 0


def test_another_file_is_not_continued(tmp_path: Path, configure: Configure) -> None:
    configure({})
    file = tmp_path / "notes.txt"
    file.write_text("not JSON\n")
    command = ("django_site.Feedback", "--field", "body", "--output", str(file), "--resume")
    assert "its last line has no pk" in _refused(*command)
    assert file.read_text() == "not JSON\n"
    file.write_text('{"pk": "of another model"}\n')
    assert "is not a primary key of django_site.Feedback" in _refused(*command)


# --- What is saved ----------------------------------------------------------------------------


def _column() -> TextColumn:
    return TextColumn(Feedback, "body", "default")


def test_a_row_that_was_changed_or_deleted_meanwhile_is_not_saved() -> None:
    same, changed, deleted = _reviews(3)
    fields = SavedFields(_column(), {"score": "polarity"})
    outcomes = [(Row(row.pk, row.body), prediction()) for row in (same, changed, deleted)]
    Feedback.objects.filter(pk=changed.pk).update(body="another text")
    Feedback.objects.filter(pk=deleted.pk).delete()
    fields.save(outcomes)
    assert (fields.saved, fields.changed) == (1, 2)
    assert [row.polarity for row in Feedback.objects.order_by("pk")] == [0.75, None]


def test_an_error_is_saved_only_in_its_field() -> None:
    (review,) = _reviews(1)
    fields = SavedFields(_column(), {"score": "polarity", "error": "problem"})
    fields.save([(Row(review.pk, review.body), ERROR)])
    review.refresh_from_db()
    assert (review.polarity, review.problem) == (None, "nonfinite")
    assert fields.unscored(_column().rows).count() == 0
    fields.save([(Row(review.pk, review.body), prediction())])
    review.refresh_from_db()
    assert (review.polarity, review.problem) == (0.75, None)


def test_an_unknown_language_is_saved_as_an_empty_value() -> None:
    german, rating = _reviews(2)
    known = prediction().model_copy(update={"language": "de", "language_supported": False})
    fields = SavedFields(_column(), {"language": "mood", "score": "polarity"})
    fields.save([(Row(german.pk, german.body), known), (Row(rating.pk, rating.body), prediction())])
    assert [row.mood for row in Feedback.objects.order_by("pk")] == ["de", ""]


def test_an_error_without_a_field_leaves_the_row_unscored() -> None:
    (review,) = _reviews(1)
    fields = SavedFields(_column(), {"label": "mood"})
    with CaptureQueriesContext(
        connection,
    ) as queries:
        fields.save([(Row(review.pk, review.body), ERROR)])
    assert not [each for each in queries if "UPDATE" in each["sql"]]
    assert list(fields.unscored(_column().rows)) == [review]


def test_rows_are_read_in_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "_ROWS_PER_PAGE", 10)
    reviews = _reviews(25)
    with CaptureQueriesContext(connection) as queries:
        read = [row.pk for row in _column().pages(_column().rows)]
    assert read == [review.pk for review in reviews]
    assert len(queries) == 4
    after = _column().pages(_column().rows, after=reviews[19].pk)
    assert [row.pk for row in after] == [review.pk for review in reviews[20:]]


def test_each_outcome_stays_beside_its_row() -> None:
    rows = [Row(number, f"text {number}") for number in range(9)]

    def score_in_threes(texts: Any) -> Any:
        texts = list(texts)
        for start in range(0, 9, 3):
            for text in texts[start : start + 3]:
                yield prediction(hash_score(text))

    for row, outcome in scored_rows(rows, score_in_threes):
        assert isinstance(outcome, Prediction)
        assert outcome.score == hash_score(row.text)
