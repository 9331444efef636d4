"""`/v1/batches`: upload any number of texts as one batch, follow it, stream its results."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from sentq.aio import AsyncBatch
from sentq.contract import MAX_TEXTS_WITH_DETAIL, MODEL_NAME, Detail
from sentq.errors import EmptyJob, SentqError, UnknownBatch
from sentq.gateway.batches.download import result_lines
from sentq.gateway.batches.records import BatchRecord, BatchRecords
from sentq.gateway.batches.upload import ATTEMPT_S, BatchUpload, JobCutter
from sentq.gateway.bodies.incoming import IncomingBody
from sentq.gateway.bodies.json_body import check_type
from sentq.gateway.bodies.lines import UPLOAD_TYPES, texts_in
from sentq.gateway.documents import BatchDocument, BatchJobs
from sentq.gateway.errors import InvalidLine
from sentq.gateway.idempotency import Attempt, IdempotencyHeader, attempt_of
from sentq.gateway.keys.admission import Reader, Sender
from sentq.gateway.openapi import OF_CALLER, problems, upload_of, with_headers
from sentq.gateway.services import GatewayServices, Services
from sentq.results.batch import BatchProgress
from sentq.webhooks.network.targets import MAX_URL_CHARS
from sentq.wire.batches import is_batch_id
from sentq.wire.ids import new_job_ids

__all__ = ["router"]

router: Final = APIRouter(tags=["batches"])

_JSON: Final = "application/json"
_JSON_LINES: Final = "application/x-ndjson"

_TEXTS_PER_JOB: Final = 64
_MOST_TEXTS_PER_JOB: Final = 256


@router.post(
    "/v1/batches",
    status_code=202,
    summary="Upload texts as one batch",
    response_model=BatchDocument,
    responses={
        202: with_headers("All texts were accepted", "Location", "Retry-After"),
        **problems(*OF_CALLER, 400, 408, 409, 415, 422, 500, 503),
    },
    openapi_extra=upload_of(*UPLOAD_TYPES),
)
async def upload_batch(
    request: Request,
    services: Services,
    caller: Sender,
    field: Annotated[
        str,
        Query(
            min_length=1,
            max_length=200,
            description="The member of each object, or the column, that has the text.",
        ),
    ] = "text",
    texts_per_job: Annotated[
        int,
        Query(ge=1, le=_MOST_TEXTS_PER_JOB, description="Into how large jobs the texts are cut."),
    ] = _TEXTS_PER_JOB,
    local_only: Annotated[  # noqa: FBT002 - a parameter of a query
        bool, Query(description="Whether the texts must not be sent to the Hugging Face Hub.")
    ] = False,
    detail: Annotated[
        Detail | None,
        Query(
            description="Also score the sentences, paragraphs or windows of each text on their own "
            f"(`parts` of its outcome). Jobs have at most {MAX_TEXTS_WITH_DETAIL} texts then."
        ),
    ] = None,
    model: Annotated[
        str | None,
        Query(
            pattern=MODEL_NAME,
            description="The name of the model that scores the texts, of those that the workers "
            "have. By default a worker chooses.",
        ),
    ] = None,
    callback_url: Annotated[
        str | None,
        Query(
            max_length=MAX_URL_CHARS,
            description="Where a webhook is sent when all jobs have ended; see docs/webhooks.md.",
        ),
    ] = None,
    idempotency_key: IdempotencyHeader = None,
) -> Response:
    """Accept texts of any number, one on each line: JSON lines (a string, or an object with the
    member `field`), or CSV with a header. They are sent to the workers while they arrive.

    With an `Idempotency-Key`, an upload that was cut off is repeated with the same lines: it goes
    on where it was cut off, and no text is scored twice. The same holds after an error: correct the
    line that it names, and repeat. Without a key such a batch is cancelled."""
    media_type = check_type(request, UPLOAD_TYPES)
    operation = f"batch {field} {texts_per_job} {local_only}"
    operation += f" {callback_url}" if callback_url else ""
    operation += f" {detail}" if detail else ""
    operation += f" model={model}" if model else ""
    then = await services.webhook(callback_url, owner=caller.key_id)
    attempt = attempt_of(services.client, caller.key_id, idempotency_key, operation)
    (batch_id,) = new_job_ids(1)
    if attempt is not None:
        batch_id = await attempt.begin(b"", lasts_s=ATTEMPT_S, makes=batch_id)
    upload = BatchUpload(
        services.client,
        batch_id,
        attempt=attempt,
        limits=caller.limits,
        closing=services.closing,
        local_only=local_only,
        detail=detail,
        model=model,
    )
    if detail:
        texts_per_job = min(texts_per_job, MAX_TEXTS_WITH_DETAIL)
    body = IncomingBody(request, timeout_s=services.settings.body_timeout_s)
    limits = services.client.limits
    texts = texts_in(
        body.chunks(),
        media_type,
        field=field,
        limits=limits,
        max_bytes=services.settings.max_body_bytes,
    )
    try:
        await upload.begin(caller.key_id, then)
        await _take(upload, JobCutter(limits, texts_per_job), texts)
    except BaseException as error:
        if isinstance(error, (InvalidLine, SentqError)) and attempt is not None:
            error.batch_id = batch_id
        raise
    finally:
        await asyncio.shield(_finish(services, batch_id, attempt, is_complete=upload.is_complete))
    return await _accepted(services, batch_id)


async def _take(
    upload: BatchUpload, cutter: JobCutter, texts: AsyncGenerator[list[str], None]
) -> None:
    """Take all texts, and close the batch."""
    try:
        async with aclosing(texts):
            async for some in texts:
                for text in some:
                    job = cutter.add(text)
                    if job is not None:
                        await upload.add(job)
    except InvalidLine:
        # What comes before the line is accepted as it would be if the line were right: whole jobs.
        await upload.flush()
        raise
    rest = cutter.rest()
    if rest:
        await upload.add(rest)
    await upload.flush()
    if not upload.texts:
        raise EmptyJob("the body has no text")
    await upload.end()


async def _finish(
    services: GatewayServices, batch_id: str, attempt: Attempt | None, *, is_complete: bool
) -> None:
    """End an upload: let it be repeated, or cancel what cannot be continued."""
    with suppress(SentqError):
        if attempt is not None:
            await attempt.end()
        elif not is_complete:
            await services.client.batch_by_id(batch_id).cancel()


async def _accepted(services: GatewayServices, batch_id: str) -> Response:
    record = await BatchRecords(services.client, batch_id).read()
    document = _document(await services.client.batch_by_id(batch_id).progress(), record)
    headers = {
        "Location": f"/v1/batches/{batch_id}",
        "Retry-After": str(await services.client.ask_again_s()),
    }
    return Response(document.model_dump_json(), 202, headers, media_type=_JSON)


class BatchInPath:
    """The batch that a path names, and what is kept of it.

    Attributes:
        batch: Its handle.
        record: What is kept of it; None if it was not uploaded.
    """

    def __init__(self, batch: AsyncBatch, record: BatchRecord | None) -> None:
        self.batch = batch
        self.record = record


async def batch_of_path(
    services: Services,
    caller: Reader,
    batch_id: Annotated[
        str,
        Path(
            description="The id of a batch, as `Location` has it.",
            json_schema_extra={"format": "uuid"},
        ),
    ],
) -> BatchInPath:
    """Return the batch that a path names.

    Raises:
        UnknownBatch, BatchExpired: It names none, or one that the caller may not read.
    """
    if not is_batch_id(batch_id):
        raise UnknownBatch("the path has no id of a batch: a UUID in lower case", batch_id)
    records = BatchRecords(services.client, batch_id)
    record = await records.check_owner(caller.key_id, is_admin=caller.is_admin)
    return BatchInPath(services.client.batch_by_id(batch_id), record)


BatchOfPath = Annotated[BatchInPath, Depends(batch_of_path)]


async def _progress(services: GatewayServices, named: BatchInPath) -> BatchProgress:
    try:
        return await named.batch.progress()
    except UnknownBatch:
        BatchRecords(services.client, named.batch.id).check_age()
        raise


@router.get(
    "/v1/batches/{batch_id}",
    summary="Ask for a batch",
    response_model=BatchDocument,
    responses={
        200: with_headers("How many jobs of the batch have ended", "Retry-After"),
        **problems(*OF_CALLER, 404, 410, 500, 503),
    },
)
async def read_batch(services: Services, named: BatchOfPath) -> Response:
    """Return how many texts were accepted, and how many of their jobs have ended."""
    document = _document(await _progress(services, named), named.record)
    headers = {"Cache-Control": "no-store"}
    if not document.is_complete:
        headers["Retry-After"] = str(await services.client.ask_again_s())
    return Response(document.model_dump_json(), headers=headers, media_type=_JSON)


@router.get(
    "/v1/batches/{batch_id}/results",
    summary="Stream the results of a batch",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "JSON lines, one for each text in the order of the upload: `index` "
            "counts from 0; then the members of a prediction, or `error` with `code` and "
            "`message`.",
            "content": {_JSON_LINES: {"schema": {"type": "string"}}},
        },
        **problems(*OF_CALLER, 404, 410, 422, 500, 503),
    },
)
async def read_results(
    services: Services,
    named: BatchOfPath,
    first: Annotated[
        int,
        Query(ge=0, le=2**53, description="The index of the first text: go on with a download."),
    ] = 0,
) -> StreamingResponse:
    """Stream the results in order, and wait for those that are not there yet. A response that ends
    before the last line was cut off: ask for the rest with `first`."""
    await _progress(services, named)
    lines = result_lines(services.client, named.batch.id, first, services.closing)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(lines, media_type=_JSON_LINES, headers=headers)


@router.delete(
    "/v1/batches/{batch_id}",
    summary="Cancel a batch",
    response_model=BatchDocument,
    responses=problems(*OF_CALLER, 404, 410, 500, 503),
)
async def cancel_batch(services: Services, named: BatchOfPath) -> Response:
    """Cancel the jobs that no worker has started. The results of the others stay."""
    await _progress(services, named)
    await named.batch.cancel()
    document = _document(await named.batch.progress(), named.record)
    return Response(document.model_dump_json(), media_type=_JSON)


def _document(progress: BatchProgress, record: BatchRecord | None) -> BatchDocument:
    return BatchDocument(
        id=progress.id,
        texts=None if record is None else record.texts,
        jobs=BatchJobs(
            total=progress.total,
            done=progress.done,
            failed=progress.failed,
            cancelled=progress.cancelled,
            remaining=progress.remaining,
        ),
        is_closed=progress.is_closed,
        is_complete=progress.is_complete,
    )
