"""Webhooks: HTTP requests that tell a receiver how a job or a batch ended. What may be called, how
requests are signed, what waits in Redis, and the delivery with its retries. Imports `aio` and what
is below it; the gateway and the commands import it.

job = client.submit(texts, then=webhook("https://example.com/hook"))
"""

from sentq.webhooks.callback import webhook

__all__ = ["webhook"]
