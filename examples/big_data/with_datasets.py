"""Score a data set with `map` of Hugging Face's `datasets`, in two processes.

    $ python examples/big_data/with_datasets.py
    negative: 4 reviews, 1.25 stars
    neutral: 2 reviews, 3.00 stars
    positive: 3 reviews, 5.00 stars
    not scored (not_a_string): 1 reviews, 4.00 stars

Needs sentq[worker,model] and datasets.
"""

from collections import defaultdict
from pathlib import Path

from datasets import Dataset, load_dataset

from sentq_worker import Scorer

FILE = Path(__file__).parent / "reviews.csv"


def score(reviews: Dataset) -> Dataset:
    """Return the reviews with columns of their scores.

    In the format "arrow" columns keep their types, and a column has one also where a batch has no
    value in it.
    """
    scorer = Scorer(threads=1)  # two processes share the cores
    scored = reviews.with_format("arrow").map(scorer, batched=True, batch_size=1000, num_proc=2)
    return scored.with_format(None)


def main() -> None:
    """Score the reviews, and print the stars of each label."""
    stars = defaultdict(list)
    for row in score(load_dataset("csv", data_files=str(FILE), split="train")):
        stars[row["sentq_label"] or f"not scored ({row['sentq_error']})"].append(row["stars"])
    for name in sorted(stars, key=lambda name: (name.startswith("not"), name)):
        found = stars[name]
        print(f"{name}: {len(found)} reviews, {sum(found) / len(found):.2f} stars")


if __name__ == "__main__":
    main()
