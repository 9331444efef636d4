"""Score two texts: submit a job, wait for its result, print each outcome.

Start a private Redis and a worker in one terminal with `sentq dev`. In another terminal, run the
line `export SENTQ_BROKER_URL=...` that it printed, and then:

    $ python examples/quickstart.py
    positive  score 0.96  sentiment +0.95  What a lovely day!
    negative  score 0.97  sentiment -0.96  The worst service I have ever had.

Exit codes: 0 when both texts were scored, 1 when not.
"""

import sys

from sentq import Client, Prediction, SentqError

TEXTS = ["What a lovely day!", "The worst service I have ever had."]


def main() -> None:
    """Submit one job of two texts and print its outcomes."""
    with Client() as client:
        job = client.submit(TEXTS)  # Returns as soon as Redis has the job.
        result = job.result(timeout=30)
    # There is one outcome for each text, in the order sent.
    for text, outcome in zip(TEXTS, result.outcomes, strict=True):
        if not isinstance(outcome, Prediction):
            sys.exit(f"not scored: {outcome.code}: {outcome.message}")
        score, sentiment = f"{outcome.score:.2f}", f"{outcome.sentiment:+.2f}"
        print(f"{outcome.label}  score {score}  sentiment {sentiment}  {text}")


if __name__ == "__main__":
    try:
        main()
    except SentqError as error:
        sys.exit(f"{error}\nIs `sentq dev` running, and is SENTQ_BROKER_URL set as it printed?")
