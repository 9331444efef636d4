"""Submit jobs in one process, keep only their ids, and read the results in another process.

The key makes a second `submit` safe: it returns the job that was sent first. The deadline discards
texts that no worker has scored within --deadline seconds. With `sentq dev` running and
SENTQ_BROKER_URL set as it printed:

    $ printf 'order-17\\tWhat a lovely day!\\n' > orders.tsv
    $ printf 'order-18\\tThe lid is loose and it leaks.\\n' >> orders.tsv
    $ python examples/submit_now_read_later.py submit orders.tsv > jobs.tsv
    $ python examples/submit_now_read_later.py submit orders.tsv | diff - jobs.tsv
    $ python examples/submit_now_read_later.py read jobs.tsv
    order-17: positive 0.96
    order-18: negative 0.90

Exit codes: 0 success, 1 some jobs have no score (yet), 2 the file cannot be read or a text
cannot be sent, 3 Redis cannot be reached, 5 the queue was full at each attempt.
"""

import argparse
import sys
import time
from pathlib import Path

import sentq


def submit(client: sentq.Client, texts: dict[str, str], deadline_s: float, attempts: int) -> None:
    """Submit one job for each text, and print its key and its id."""
    for attempts_left in reversed(range(attempts)):
        try:
            jobs = client.submit_many(texts.values(), keys=texts, deadline=deadline_s)
            break
        except sentq.QueueFull as error:  # The keys make it safe to submit all of them again.
            if not attempts_left:
                raise
            pause_s = error.retry_after_s
            print(f"the queue is full: trying again in {pause_s:.1f} s", file=sys.stderr)
            time.sleep(pause_s)
    for key, job in zip(texts, jobs, strict=True):
        print(f"{key}\t{job.id}")


def read(client: sentq.Client, ids: dict[str, str], timeout_s: float) -> int:
    """Print the result of each job; return how many have no score."""
    jobs, without_score = [client.job(job_id) for job_id in ids.values()], 0
    for key, result in zip(ids, client.results(jobs, timeout=timeout_s), strict=True):
        match result:
            case sentq.JobOutcome(outcomes=[sentq.Prediction() as outcome]):
                print(f"{key}: {outcome.label} {outcome.score:.2f}")
            case _:
                without_score += 1
                print(f"{key}: {why_not(result)}")
    return without_score


def why_not(result: sentq.JobOutcome | sentq.JobError) -> str:
    """Say why a job has no score."""
    match result:
        case sentq.JobOutcome(outcomes=[sentq.TextError(code=code)]):
            return f"not scored: {code}"  # For example deadline_passed or empty_text.
        case sentq.WaitTimeout():
            return "not finished: read it again later"
        case sentq.JobCancelled():
            return "cancelled"
        case sentq.JobExpired():
            return "expired: Redis no longer keeps the result"
        case _:  # UnknownJob, JobFailed: the message says more.
            return f"failed: {result}"


def main() -> int:
    """Run the command that the command line names; return the exit code."""
    parser = argparse.ArgumentParser(description="Submit jobs now, read their results later.")
    parser.add_argument("command", choices=["submit", "read"])
    parser.add_argument("file", type=Path, help="lines of key<TAB>text, or of key<TAB>job id")
    parser.add_argument("--deadline", type=float, default=3600, help="of each job, in seconds")
    parser.add_argument("--attempts", type=int, default=5, help="where the queue is full")
    parser.add_argument("--timeout", type=float, default=30, help="seconds to wait for a result")
    options = parser.parse_args()
    try:
        lines = options.file.read_text(encoding="utf-8").splitlines()
        rows = {key: rest for key, _, rest in (line.partition("\t") for line in lines)}
        with sentq.Client() as client:
            if options.command == "read":
                return 1 if read(client, rows, options.timeout) else 0
            submit(client, rows, options.deadline, options.attempts)
            return 0
    except (OSError, UnicodeDecodeError, sentq.SentqError) as error:
        print(f"submit_now_read_later: {error}", file=sys.stderr)
        unavailable = 3 if isinstance(error, sentq.RedisUnavailable) else 2
        return 5 if isinstance(error, sentq.Overloaded) else unavailable


if __name__ == "__main__":
    sys.exit(main())
