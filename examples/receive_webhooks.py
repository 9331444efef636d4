"""Receive webhooks: verify the signature, answer at once, and ignore what came before.

Needs `pip install "sentq[webhooks]"` for `sentq webhooks deliver`, and `standardwebhooks` here,
which it brings. Start `sentq dev` in one terminal. In each other terminal, run the line
`export SENTQ_BROKER_URL=...` that it printed, and:

    $ export SENTQ_WEBHOOKS_SECRETS=$(sentq webhooks new-secret)     # the same in all terminals
    $ export SENTQ_WEBHOOKS_HOSTS=http://127.0.0.1:8400 SENTQ_WEBHOOKS_PRIVATE_NETWORKS=127.0.0.0/8
    $ sentq webhooks deliver
    $ RECEIVER_SECRET=$(sentq webhooks secret) python examples/receive_webhooks.py
    job.done  1 of 1 texts scored  0192f0c1-7d3c-7aaa-8bbb-0123456789ab

The first line of that output comes after:

    $ python -c "from sentq import Client; from sentq.webhooks import webhook
    Client().submit('What a day!', then=webhook('http://127.0.0.1:8400/hook'))"

RECEIVER_PORT is another port than 8400.
"""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

#: A webhook comes once more if an answer was lost. A real service would keep its id with what it
#: stored for it, in one transaction.
seen: set[str] = set()


def handle(event: dict[str, Any]) -> None:
    """Do what the event is for. What takes long belongs into a queue: the sender waits."""
    data = event["data"]
    counts = f"{data.get('scored', 0)} of {data.get('texts', 0)} texts scored"
    print(f"{event['type']}  {counts}  {data.get('job_id') or data.get('batch_id')}", flush=True)


class Receiver(BaseHTTPRequestHandler):
    """Receives webhooks at any path."""

    def do_POST(self) -> None:
        """Verify a request, and answer."""
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), 128 * 1024))
        try:
            # It checks that the request is not older than five minutes, too.
            event = Webhook(os.environ["RECEIVER_SECRET"]).verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_error(401)
            return
        webhook_id = self.headers["webhook-id"]
        if webhook_id not in seen:
            handle(event)
            seen.add(webhook_id)
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Write no line for each request."""


if __name__ == "__main__":
    port = int(os.environ.get("RECEIVER_PORT", "8400"))
    ThreadingHTTPServer(("127.0.0.1", port), Receiver).serve_forever()
