"""Score a data set with Ray Data, in two actors. Each of them loads the model once.

    $ python examples/big_data/with_ray.py
    negative: 4 reviews, 1.25 stars
    neutral: 2 reviews, 3.00 stars
    positive: 3 reviews, 5.00 stars
    not scored (empty_text): 1 reviews, 4.00 stars

Needs sentq[worker,model] and ray[data].
"""

import logging
from pathlib import Path

import ray

from sentq_worker import Scorer

FILE = Path(__file__).parent / "reviews.csv"


def score(reviews: ray.data.Dataset) -> ray.data.Dataset:
    """Return the reviews with columns of their scores.

    Batches of Arrow keep the types of all columns.
    """
    return reviews.map_batches(
        Scorer,
        fn_constructor_kwargs={"column": "text", "threads": 1},
        batch_format="pyarrow",
        batch_size=1024,
        compute=ray.data.ActorPoolStrategy(size=2),
    )


def main() -> None:
    """Score the reviews, and print the stars of each label."""
    # Each actor takes a CPU from Ray's count of them, and the tasks that read need one, too.
    ray.init(num_cpus=3, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False)
    ray.data.DataContext.get_current().enable_progress_bars = False
    scored = score(ray.data.read_csv(str(FILE)).repartition(2)).to_pandas()
    by_label = scored.groupby(["sentq_label", "sentq_error"], dropna=False)["stars"]
    for (label, error), stars in by_label:
        name = label if isinstance(label, str) else f"not scored ({error})"
        print(f"{name}: {len(stars)} reviews, {stars.mean():.2f} stars")
    ray.shutdown()


if __name__ == "__main__":
    main()
