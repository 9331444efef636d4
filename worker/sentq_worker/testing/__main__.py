"""`python -m sentq_worker.testing`: a local Hub, to try provider policies by hand.

    $ python -m sentq_worker.testing --port 8123 --latency-ms 100
    http://127.0.0.1:8123

It scores for any model. A script that is posted to it sets the replies to the next calls, one word
for each. A word is a `FakeReply`, some with a number after a colon. All later calls get scores:

    $ curl -d "503 503 429:2 ok" http://127.0.0.1:8123/script
    $ curl -d "always 500" http://127.0.0.1:8123/script       # until another script is posted
    $ curl http://127.0.0.1:8123/calls
"""

from __future__ import annotations

import argparse
import signal

from sentq_worker.testing.hub import LocalHub
from sentq_worker.testing.replies import FakeReply


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(
        prog="python -m sentq_worker.testing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"replies: {', '.join(FakeReply)}",
    )
    parser.add_argument("--port", type=int, default=0, help="the port; 0 takes a free one")
    parser.add_argument(
        "--latency-ms", type=float, default=100.0, help="the time before each reply"
    )
    parser.add_argument("--labels", default="negative,neutral,positive", help="separated by commas")
    parser.add_argument("--token", help="the only accepted token (default: any)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with LocalHub(
        port=options.port,
        latency_s=options.latency_ms / 1000,
        labels=options.labels.split(","),
        token=options.token,
    ) as hub:
        print(hub.url, flush=True)  # noqa: T201 - the caller reads the address
        try:
            signal.pause()
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
