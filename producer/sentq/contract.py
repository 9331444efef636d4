"""The contract of client and worker: jobs, outcomes, and the limits that both sides check.

A job is an ordinary Celery task, so that every Celery client can send it:

    send    sentq.score(["first text", "second text"])
    result  {"outcomes": [{"label": …}, {"code": …, "message": …}], "model": …, …}

With encryption, `sealed` takes the place of both (`sentq.wire.sealing`).

Each text has exactly one outcome, in the order sent. The outcome of a text that cannot be scored is
a `TextError`; its job succeeds all the same.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Final, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sentq.errors import (
    EmptyJob,
    InvalidInput,
    LoneSurrogate,
    MessageTooLarge,
    NotAString,
    TextTooLong,
    TooManyTexts,
)

#: The Celery task that workers register and clients send.
TASK_NAME: Final = "sentq.score"

#: The argument of the task in place of `texts` if they are encrypted, and the only field of a
#: result that is encrypted (`sentq.wire.sealing`).
SEALED_FIELD: Final = "sealed"

#: Headers of a job's message, in addition to Celery's: the deadline in Unix milliseconds by Redis'
#: clock, and that the texts must stay on the worker's machine.
DEADLINE_HEADER: Final = "sentq_deadline_ms"
LOCAL_ONLY_HEADER: Final = "sentq_local_only"

#: The header of a job that also asks for the parts of its texts: one of `DETAILS`.
DETAIL_HEADER: Final = "sentq_detail"

#: The header of a job that belongs to a batch: the id of the batch, a colon, the place in it.
BATCH_HEADER: Final = "sentq_batch"

#: The header of a job with a callback of its own: the signature as JSON.
CALLBACK_HEADER: Final = "sentq_then"

#: Headers that workers write when a delivery was lost: how many were lost, how the first and the
#: last one ended, and which worker ran the job alone.
DELIVERIES_HEADER: Final = "sentq_deliveries"
FIRST_ERROR_HEADER: Final = "sentq_first_error"
LAST_ERROR_HEADER: Final = "sentq_last_error"
ALONE_HEADER: Final = "sentq_alone"

#: The name of the model that every worker has; its settings may name others.
MAIN_MODEL: Final = "main"

#: The contract's limits. Settings may lower them, never raise them.
MAX_TEXTS_PER_JOB: Final = 256
MAX_CHARS_PER_TEXT: Final = 100_000
MAX_BYTES_PER_MESSAGE: Final = 1024 * 1024

#: The parts of texts that a job can ask for.
Detail: TypeAlias = Literal["sentences", "paragraphs", "windows"]
DETAILS: Final[tuple[Detail, ...]] = ("sentences", "paragraphs", "windows")

#: The limits of a job that asks for parts, so that its outcome has at most 16,384 of them. If a
#: text has more, neighbours are joined.
MAX_PARTS_PER_TEXT: Final = 256
MAX_TEXTS_WITH_DETAIL: Final = 64

#: A text is mixed if one part is at least so positive and another one so negative. Chosen on
#: reviews that were written for it, and measured on others (`python -m benchmarks.parts`).
MIXED_SENTIMENT: Final = 0.5

#: A character takes at most this many bytes in the message: an escaped surrogate pair.
_MAX_JSON_BYTES_PER_CHAR: Final = 12

#: The body of a message besides the list of texts: Celery's `[args, kwargs, embed]`.
_BODY_OVERHEAD_BYTES: Final = 128

#: The names that a model may have, as a regular expression.
MODEL_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"

#: What is said of a job of which a field does not fit.
_WRONG_FIELDS: Final = {
    "texts": "texts must be a list",
    "model": "a model has a name of at most 64 letters, digits, '_', '.' and '-'",
}


#: A letter of any script. Nearly every text has one among its first characters.
_LETTER: Final = re.compile(r"[^\W\d_]")

#: Categories of Unicode: whitespace, control and format characters; emojis and other pictures.
_INVISIBLE: Final = "CZ"
_PICTURE: Final = "So"

#: What says something without letters: a rating (`9/10`, `80%`, `+1`, `***`), or an emoticon.
_SIGN: Final = re.compile(
    r"(?<![\d/.,])\d{1,3}(?:[.,]\d)?\s?(?:/\s?\d{1,3}(?![\d/])|%)"
    r"|\A\s*[+-]\d{1,2}\s*\Z|(?<!\S)\*{1,10}(?!\S)"
    r"|[:;=]['^-]?[()\[\]/\\|]|[()\[\]]['^-]?[:;=]|<3|\^_{0,2}\^|>[._]<|-[._]-"
)


class ErrorCode(StrEnum):
    """Why a text has no prediction. The set is closed: a client may match on all of them."""

    UNREADABLE = "unreadable"
    EMPTY_TEXT = "empty_text"
    NO_WORDS = "no_words"
    NOT_A_STRING = "not_a_string"
    LONE_SURROGATE = "lone_surrogate"
    TEXT_TOO_LONG = "text_too_long"
    UNSUPPORTED_LANGUAGE = "unsupported_language"
    UNKNOWN_MODEL = "unknown_model"
    MESSAGE_TOO_LARGE = "message_too_large"
    INFERENCE_FAILED = "inference_failed"
    NONFINITE = "nonfinite"
    RESOURCE_EXHAUSTED = "resource_exhausted"
    DEADLINE_PASSED = "deadline_passed"
    ENGINE_UNAVAILABLE = "engine_unavailable"
    BUDGET_EXHAUSTED = "budget_exhausted"
    #: A code of a newer worker, which this version does not know.
    OTHER = "other"

    @classmethod
    def _missing_(cls, value: object) -> ErrorCode | None:
        return cls.OTHER if isinstance(value, str) else None


class JobStatus(StrEnum):
    """The status of a job."""

    QUEUED = "queued"
    #: Sent with `delay` or `at`, and not due yet.
    SCHEDULED = "scheduled"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class _Wire(BaseModel):
    """A frozen model. A reader ignores fields that a newer writer added."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class Limits(_Wire):
    """The limits of a job. The defaults are those of the contract."""

    texts_per_job: Annotated[int, Field(ge=1, le=MAX_TEXTS_PER_JOB)] = MAX_TEXTS_PER_JOB
    chars_per_text: Annotated[int, Field(ge=1, le=MAX_CHARS_PER_TEXT)] = MAX_CHARS_PER_TEXT
    bytes_per_message: Annotated[int, Field(ge=1024, le=MAX_BYTES_PER_MESSAGE)] = (
        MAX_BYTES_PER_MESSAGE
    )


class JobOptions(_Wire):
    """What a job asks for beside its texts: arguments of its message, which a job without them
    does not have.

    An unknown option is rejected, not ignored: a newer client may rely on it.

    Attributes:
        model: The name of the worker's model that scores it; None lets the worker choose.
    """

    model_config = ConfigDict(extra="forbid")

    model: Annotated[str, Field(pattern=MODEL_NAME)] | None = None

    @property
    def arguments(self) -> dict[str, object]:
        """The options that were given, by name."""
        return {name: self.__dict__[name] for name in _OPTION_NAMES if self.__dict__[name]}

    @classmethod
    def checked(cls, options: Mapping[str, object]) -> Self:
        """Read options of a job.

        Raises:
            InvalidInput: One is unknown or does not fit.
        """
        try:
            return cls.model_validate(options)
        except ValidationError as error:
            fields = {str(name) for problem in error.errors() for name in problem["loc"][:1]}
            # Pydantic names no field if a name is not Unicode.
            if not fields or not fields <= _WRONG_FIELDS.keys():
                raise InvalidInput("an option is unknown to this worker") from None
            raise InvalidInput(_WRONG_FIELDS[min(fields)]) from None


#: The options of nearly every job.
NO_OPTIONS: Final = JobOptions()
_OPTION_NAMES: Final = tuple(JobOptions.model_fields)


class JobRequest(JobOptions):
    """The arguments of a job's message, with texts that are not encrypted."""

    texts: list[Any]

    @field_validator("texts", mode="before")
    @classmethod
    def _one_text_is_a_list_of_one(cls, texts: object) -> object:
        return [texts] if isinstance(texts, str) else texts

    @classmethod
    def from_task(cls, args: Sequence[object], kwargs: Mapping[str, object]) -> JobRequest:
        """Read the arguments of the Celery task.

        Raises:
            InvalidInput: They are not `texts` and options, or one of them does not fit.
        """
        if len(args) > 1 or (args and "texts" in kwargs):
            raise InvalidInput(f"{TASK_NAME} takes one argument: texts")
        try:
            return cls.checked({"texts": args[0], **kwargs} if args else kwargs)
        except InvalidInput as error:
            raise InvalidInput(f"{TASK_NAME}: {error}") from None


class TextPart(_Wire):
    """A sentence, a paragraph or a window of a text, scored on its own.

    Attributes:
        start, end: Where it stands in the text as it was sent, in characters (code points, which
            Python counts; a character such as an emoji is two in JavaScript): `text[start:end]`.
        label, score, scores, sentiment: As in `Prediction`.
    """

    start: int
    end: int
    label: str
    score: float
    scores: dict[str, float]
    sentiment: float | None


class Prediction(_Wire):
    """The outcome of a scored text.

    Attributes:
        label: The most probable label.
        score: Its probability.
        scores: The probability of each label. They sum to 1; those of a multi-label model are
            independent.
        sentiment: The expected polarity from -1 to 1, None if the model's labels have none.
        tokens: The number of tokens of the text itself.
        windows: More than 1 if the text was longer than the model reads at once: it was read in
            so many windows, and their scores were joined.
        language: The most likely language of the text, as a code of ISO 639-1, or of ISO 639-3 if
            it has no shorter one. None if the worker detects no languages, or the text has no
            letters.
        language_confidence: The probability of that language, from 0 to 1.
        language_supported: Whether the model reads that language; None if the confidence does not
            suffice. The scores of a text with `False` mean little.
        parts: Its sentences, paragraphs or windows, in order, if the job asked for them (`detail`).
            At most 256: if the text has more, neighbours are joined. Windows overlap.
        mixed: Whether it both praises and complains: the sentiment of one part is at least 0.5, and
            that of another one at most -0.5. None without parts, or without sentiment.
        model: The model that scored the text, if that is not the model of the job's other texts:
            the text was sent to it because of its language. None for the job's own.
        revision: The revision of that model, if there is one.
    """

    label: str
    score: float
    scores: dict[str, float]
    sentiment: float | None
    tokens: int
    windows: int
    language: str | None = None
    language_confidence: float | None = None
    language_supported: bool | None = None
    parts: tuple[TextPart, ...] | None = None
    mixed: bool | None = None
    model: str | None = None
    revision: str | None = None


class TextError(_Wire):
    """The outcome of a text that could not be scored. It never quotes the text."""

    code: ErrorCode
    message: str


Outcome: TypeAlias = Prediction | TextError


class JobOutcome(_Wire):
    """The result of a job.

    Attributes:
        outcomes: One entry for each text, in the order sent.
        model: The model that scored them.
        revision: Its commit on the Hub, or `sha256:…` over the files of a local folder; None if
            unknown.
        backend: Where it ran: `local:cpu`, `local:cuda:0` and so on.
        dtype: The number format of the weights.
        attempts: How many deliveries the job took.
        queued_ms: Milliseconds from submission to the start of its batch, or from when it was due
            if that was later; None if the message does not tell when it was sent.
        inference_ms: Milliseconds that its whole batch took.
    """

    # In pydantic's own mode each text that has a prediction would also be tried as an error, which
    # takes as long again.
    outcomes: list[Annotated[Outcome, Field(union_mode="left_to_right")]]
    model: str
    revision: str | None
    backend: str
    dtype: str
    attempts: int
    queued_ms: float | None
    inference_ms: float


_RAISES: Final[dict[ErrorCode, type[InvalidInput]]] = {
    ErrorCode.NOT_A_STRING: NotAString,
    ErrorCode.LONE_SURROGATE: LoneSurrogate,
    ErrorCode.TEXT_TOO_LONG: TextTooLong,
}


def is_number(value: object) -> bool:
    """Return whether a value is a number: no text, and not `True`."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def check_timeout(timeout: float | None) -> float | None:
    """Return a time-out in seconds, or None for none.

    Raises:
        InvalidInput: It is no number.
    """
    if timeout is not None and (not is_number(timeout) or math.isnan(timeout)):
        raise InvalidInput(
            f"a timeout must be a number of seconds, or None, not {type(timeout).__name__}"
        )
    return timeout


def redacted(count: int) -> str:
    """Return what replaces the texts of a job in logs, events and monitoring."""
    return f"<{count} text{'' if count == 1 else 's'}>"


def check_text(text: object, limits: Limits) -> TextError | None:
    """Return the error of a text, None if it may be scored.

    Takes O(1) for a text over the limit, and does not depend on what the text says.
    """
    if not isinstance(text, str):
        return TextError(
            code=ErrorCode.NOT_A_STRING,
            message=f"a text must be a string, not {type(text).__name__}",
        )
    if len(text) > limits.chars_per_text:
        return TextError(
            code=ErrorCode.TEXT_TOO_LONG,
            message=f"{len(text):,} characters; the limit is {limits.chars_per_text:,} a text",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return TextError(
            code=ErrorCode.LONE_SURROGATE,
            message=f"not valid Unicode: a lone surrogate at character {error.start}",
        )
    return None


def check_words(text: str) -> TextError | None:
    """Return the error of a text that says nothing, None if a model may score it.

    Workers call this for what they read of a text. A model gives a label to such a text, too.
    """
    if _LETTER.search(text):
        return None
    categories = {unicodedata.category(character) for character in set(text)}
    if all(category[0] in _INVISIBLE for category in categories):
        return EMPTY_TEXT
    return None if _PICTURE in categories or _SIGN.search(text) else _NO_WORDS


def check_sendable(text: object, limits: Limits) -> TextError | None:
    """Return the error of a text, also if it does not fit into a message of its own.

    A `TextError` in place of a text that could not be read is returned as it is.
    """
    if isinstance(text, TextError):
        return text
    problem = check_text(text, limits)
    if problem is None and isinstance(text, str):
        excess = _excess([text], limits)
        if excess is not None:
            return TextError(code=ErrorCode.MESSAGE_TOO_LARGE, message=excess)
    return problem


#: The error of a text of which nothing can be read.
EMPTY_TEXT: Final = TextError(
    code=ErrorCode.EMPTY_TEXT, message="there is nothing to score in this text"
)
_NO_WORDS: Final = TextError(
    code=ErrorCode.NO_WORDS,
    message="the text has no word, and neither an emoji, an emoticon nor a rating",
)


def check_count(count: int, limits: Limits) -> None:
    """Reject a job of no texts, or of too many.

    Raises:
        EmptyJob: There is no text.
        TooManyTexts: There are more than `limits.texts_per_job`.
    """
    if count == 0:
        raise EmptyJob("a job needs at least one text")
    if count > limits.texts_per_job:
        raise TooManyTexts(
            f"{count:,} texts; the limit is {limits.texts_per_job} a job: "
            "split them, or let Client.map do it"
        )


def check_detail(detail: object, count: int) -> None:
    """Reject a job of so many texts that asks for parts which there are not, or for too many.

    Raises:
        InvalidInput: There is no such detail.
        TooManyTexts: There are more than `MAX_TEXTS_WITH_DETAIL`.
    """
    if detail is None:
        return
    if detail not in DETAILS:
        raise InvalidInput(f"detail must be one of {', '.join(map(repr, DETAILS))}, or None")
    if count > MAX_TEXTS_WITH_DETAIL:
        raise TooManyTexts(
            f"{count:,} texts; the limit is {MAX_TEXTS_WITH_DETAIL} a job with detail: "
            "split them, or let Client.map do it"
        )


def is_mixed(sentiments: Sequence[float | None]) -> bool | None:
    """Return whether a text with parts of these sentiments is mixed (`Prediction.mixed`)."""
    known = [each for each in sentiments if each is not None]
    if not known:
        return None
    return max(known) >= MIXED_SENTIMENT and min(known) <= -MIXED_SENTIMENT


def check_job(texts: Sequence[object], limits: Limits) -> None:
    """Reject a job that a worker would reject, before it is sent.

    Raises:
        EmptyJob, TooManyTexts: The number of texts is wrong.
        NotAString, LoneSurrogate, TextTooLong: One text is invalid; the message says which.
        MessageTooLarge: Together they do not fit into a message.
    """
    check_count(len(texts), limits)
    for index, text in enumerate(texts):
        problem = check_text(text, limits)
        if problem is not None:
            raise _RAISES[problem.code](f"text {index}: {problem.message}")
    excess = _excess([text for text in texts if isinstance(text, str)], limits)
    if excess is not None:
        raise MessageTooLarge(excess)


def message_bytes(texts: Sequence[str]) -> int:
    """Return the size in bytes of the message body with these texts."""
    # Celery serialises with the standard library's json, which escapes all but ASCII.
    return len(json.dumps(texts)) + _BODY_OVERHEAD_BYTES


def _excess(texts: Sequence[str], limits: Limits) -> str | None:
    """Return an error message if the texts do not fit into one message, else None."""
    # Nearly every job is small: this bound saves serializing it a second time.
    bound = sum(map(len, texts)) * _MAX_JSON_BYTES_PER_CHAR + 4 * len(texts) + _BODY_OVERHEAD_BYTES
    if bound <= limits.bytes_per_message:
        return None
    size_bytes = message_bytes(texts)
    if size_bytes <= limits.bytes_per_message:
        return None
    return f"{size_bytes:,} bytes; the limit is {limits.bytes_per_message:,} a message"
