"""Score a frame of Spark with `mapInPandas`, in two Python processes of a local Spark.

    $ python examples/big_data/with_spark.py
    negative: 4 reviews, 1.25 stars
    neutral: 2 reviews, 3.00 stars
    positive: 3 reviews, 5.00 stars
    not scored (not_a_string): 1 reviews, 4.00 stars

Needs sentq[worker,model], pyspark, pandas, pyarrow and Java 17 (default-jre-headless of Debian).
"""

import os
import sys
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession, functions
from pyspark.sql.types import StructType

from sentq_worker import Scorer

FILE = Path(__file__).parent / "reviews.csv"


def score(reviews: DataFrame) -> DataFrame:
    """Return the reviews with columns of their scores."""
    scorer = Scorer(threads=1)  # one process for each core of an executor
    schema = StructType(list(reviews.schema.fields))
    for name, kind in scorer.column_types.items():
        schema.add(name, kind)
    return reviews.mapInPandas(scorer, schema)


def main() -> None:
    """Score the reviews, and print the stars of each label."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.driver.host", "localhost")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.ui.showConsoleProgress", "false")
        .getOrCreate()
    )
    reviews = spark.read.csv(str(FILE), header=True, schema="id int, stars int, text string")
    by_label = (
        score(reviews.repartition(2))
        .groupBy("sentq_label", "sentq_error")
        .agg(functions.count("id").alias("reviews"), functions.avg("stars").alias("stars"))
        .orderBy(functions.col("sentq_label").asc_nulls_last())
    )
    for row in by_label.collect():
        name = row["sentq_label"] or f"not scored ({row['sentq_error']})"
        print(f"{name}: {row['reviews']} reviews, {row['stars']:.2f} stars")
    spark.stop()


if __name__ == "__main__":
    main()
