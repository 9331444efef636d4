"""Score a table of Arrow: a CSV file in, Parquet out, all other columns as they were.

    $ python examples/big_data/with_arrow.py scored.parquet
    negative: 4 reviews, 1.25 stars
    neutral: 2 reviews, 3.00 stars
    positive: 3 reviews, 5.00 stars
    not scored (empty_text): 1 reviews, 4.00 stars

Needs sentq[worker,model] and pyarrow.
"""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from sentq_worker import Scorer

FILE = Path(__file__).parent / "reviews.csv"


def score(reviews: pa.Table) -> pa.Table:
    """Return the reviews with columns of their scores."""
    scorer = Scorer()  # Scorer(column="text"), with the bundled model
    return scorer(reviews)


def main() -> None:
    """Score the reviews, write them, and print the stars of each label."""
    scored = score(pyarrow.csv.read_csv(FILE))
    pyarrow.parquet.write_table(scored, sys.argv[1])
    by_label = scored.group_by(["sentq_label", "sentq_error"]).aggregate(
        [("id", "count"), ("stars", "mean")]
    )
    for row in by_label.sort_by("sentq_label").to_pylist():
        name = row["sentq_label"] or f"not scored ({row['sentq_error']})"
        print(f"{name}: {row['id_count']} reviews, {row['stars_mean']:.2f} stars")


if __name__ == "__main__":
    main()
