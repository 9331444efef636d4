"""Score a frame of pandas, as in a notebook: each `# %%` is a cell.

    $ python examples/big_data/with_pandas.py
    negative: 4 reviews, 1.25 stars
    neutral: 2 reviews, 3.00 stars
    positive: 3 reviews, 5.00 stars
    not scored (not_a_string): 1 reviews, 4.00 stars

Needs sentq[worker,model] and pandas. A frame of polars is scored in the same way.
"""

# %% Load the model once. It stays in memory for all cells.
from pathlib import Path

import pandas as pd

from sentq_worker import Scorer

scorer = Scorer.load()

# %% Score a frame: the same frame, with more columns. pandas reads an empty cell as NaN.
reviews = pd.read_csv(Path(__file__).parent / "reviews.csv")
scored = scorer(reviews)

# %% Look at it.
by_label = scored.groupby(["sentq_label", "sentq_error"], dropna=False)["stars"]
for (label, error), stars in by_label:
    name = f"not scored ({error})" if pd.isna(label) else label
    print(f"{name}: {len(stars)} reviews, {stars.mean():.2f} stars")
