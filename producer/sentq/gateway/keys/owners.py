"""Whose a job is: the key that sent it. Only that key, or one with the scope `admin`, may read it.

    sentq-gateway-owner-<job id>   string   the id of the key that sent the job

The record is written when the job was accepted, before its id is told. It is kept twice as long as
an outcome: an outcome is kept from the end of its job on. To other keys a job does not exist.
"""

from __future__ import annotations

from sentq.errors import JobExpired, UnknownJob
from sentq.gateway.client import GatewayClient
from sentq.wire.clock import CLOCK
from sentq.wire.ids import sent_at_ms

__all__ = ["check_owner", "record_owner"]


async def record_owner(
    client: GatewayClient, job_id: str, key_id: str, *, delay_s: float = 0
) -> None:
    """Record the key that has sent a job; none for an open gateway, whose `key_id` is empty.

    Raises:
        ResultsUnavailable: Redis did not answer, or refused.
    """
    if not key_id:
        return
    kept_s = client.kept_s + round(delay_s)
    await client.ask(("SET", _key(client, job_id), key_id, "EX", kept_s))


async def check_owner(client: GatewayClient, job_id: str, key_id: str) -> None:
    """Refuse to tell a key of the job of another.

    Raises:
        UnknownJob: It was sent by another key, or not over HTTP, or never.
        JobExpired: Its outcome, if there was such a job, is kept no longer. Every key is told so.
        ResultsUnavailable: Redis did not answer, or refused.
    """
    owner: bytes | None = await client.ask(("GET", _key(client, job_id)))
    if owner is not None and owner.decode() == key_id:
        return
    sent_ms = sent_at_ms(job_id)
    if owner is None and sent_ms is not None and CLOCK.unix_s() - sent_ms / 1000 > client.kept_s:
        ttl_s = client.settings.result_ttl_s
        raise JobExpired(f"the outcome of job {job_id} was kept for {ttl_s} s and is gone", job_id)
    raise UnknownJob(f"this key has sent no job {job_id}", job_id)


def _key(client: GatewayClient, job_id: str) -> bytes:
    return client.key(f"sentq-gateway-owner-{job_id}")
