"""Score a frame of Dask with `map_partitions`, in two processes.

    $ python examples/big_data/with_dask.py
    negative: 4 reviews, 1.25 stars
    neutral: 2 reviews, 3.00 stars
    positive: 3 reviews, 5.00 stars
    not scored (not_a_string): 1 reviews, 4.00 stars

Needs sentq[worker,model] and dask[dataframe].
"""

from pathlib import Path

import dask.dataframe as dd
import pandas as pd
from dask.dataframe.utils import make_meta

from sentq_worker import Scorer

FILE = Path(__file__).parent / "reviews.csv"


def score(reviews: dd.DataFrame) -> dd.DataFrame:
    """Return the reviews with columns of their scores.

    A frame without rows is scored without a model, and has the types of the result.
    """
    scorer = Scorer(threads=1)  # several processes share the cores
    return reviews.map_partitions(scorer, meta=scorer(make_meta(reviews)))


def main() -> None:
    """Score the reviews, and print the stars of each label."""
    reviews = dd.read_csv(str(FILE)).repartition(npartitions=2)
    scored = score(reviews).compute(scheduler="processes", num_workers=2)
    by_label = scored.groupby(["sentq_label", "sentq_error"], dropna=False)["stars"]
    for (label, error), stars in by_label:
        name = f"not scored ({error})" if pd.isna(label) else label
        print(f"{name}: {len(stars)} reviews, {stars.mean():.2f} stars")


if __name__ == "__main__":
    main()
