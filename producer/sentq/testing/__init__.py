"""The test kit: `Client` and `AsyncClient` without Redis and without a model.

    with sentq.testing.inline() as kit:          # each job is scored as it is submitted
        job = Client().submit("What a lovely day!")
        assert job.result().outcomes[0].label == "positive"
        kit.assert_submitted("What a lovely day!")

Everything of a client runs as it does in production: checks, messages, JSON, keys, errors. Only
Redis and the worker are in memory. May import everything of `sentq` but `cli` and `contrib`; the
pytest plugin is `sentq_pytest`.
"""

from __future__ import annotations

from sentq.testing.kit import Kit, KitClock, settings_of
from sentq.testing.memory.server import EndlessWait
from sentq.testing.messages import PublishedTask, SubmittedJob
from sentq.testing.scores import Score, Scores, score_by_rule

__all__ = [
    "EndlessWait",
    "Kit",
    "KitClock",
    "PublishedTask",
    "Score",
    "Scores",
    "SubmittedJob",
    "inline",
    "manual",
    "score_by_rule",
]


def inline(scores: Scores | None = None, **settings: object) -> Kit:
    """Return a kit that scores each job as it is submitted.

    Args:
        scores: A mapping from texts to scores, or a function of a text. A score is a label
            (`negative`, `neutral`, `positive`), a sentiment from -1 to 1, a `Prediction`, a
            `TextError` or an `ErrorCode`. Texts that a mapping does not have, and all texts without
            `scores`, are scored by the rule: see `score_by_rule`.
        settings: Single settings of the kit's worker and clients, such as `max_queued_jobs=10`.
            They override those of file and environment.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    return Kit(scores, settings_of(settings), is_running=True)


def manual(scores: Scores | None = None, **settings: object) -> Kit:
    """Return a kit whose jobs wait until `drain` is called.

    Args:
        scores, settings: As for `inline`.

    Raises:
        SettingsError: A setting is unknown or does not fit.
    """
    return Kit(scores, settings_of(settings), is_running=False)
