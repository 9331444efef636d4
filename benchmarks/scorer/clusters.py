"""The ways to score a table: in this process, and in two local processes of each library.

Each takes a table of Arrow with the columns `number` and `text`, and the options of a scorer. It
returns the table with the columns of `TimedScorer`, in any order of rows.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa

from benchmarks.scorer.timed import RECORDED, TimedScorer

__all__ = ["WAYS"]

Way = Callable[[pa.Table, Mapping[str, Any], int], pa.Table]

#: Processes that score, each with one thread.
_PROCESSES: Final = 2


def _one_process(table: pa.Table, options: Mapping[str, Any], batch_rows: int) -> pa.Table:
    scorer = TimedScorer(**options)
    starts = range(0, len(table), batch_rows)
    return pa.concat_tables(scorer(table.slice(start, batch_rows)) for start in starts)


def _pandas(table: pa.Table, options: Mapping[str, Any], batch_rows: int) -> pa.Table:
    scorer, frame = TimedScorer(**options), table.to_pandas()
    starts = range(0, len(table), batch_rows)
    frames = [scorer(frame.iloc[start : start + batch_rows]) for start in starts]
    return pa.concat_tables(pa.Table.from_pandas(each, preserve_index=False) for each in frames)


def _datasets(table: pa.Table, options: Mapping[str, Any], batch_rows: int) -> pa.Table:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()
    scored = (
        Dataset(table)
        .with_format("arrow")
        .map(TimedScorer(**options), batched=True, batch_size=batch_rows, num_proc=_PROCESSES)
    )
    found: pa.Table = scored.data.table
    return found


def _ray(table: pa.Table, options: Mapping[str, Any], batch_rows: int) -> pa.Table:
    import ray

    ray.init(
        num_cpus=_PROCESSES + 1,  # one for the tasks that read
        include_dashboard=False,
        logging_level=logging.ERROR,
        log_to_driver=False,
    )
    ray.data.DataContext.get_current().enable_progress_bars = False
    scored = (
        ray.data.from_arrow(table)
        .repartition(max(_PROCESSES, len(table) // batch_rows))
        .map_batches(
            TimedScorer,
            fn_constructor_kwargs=dict(options),
            batch_format="pyarrow",
            batch_size=batch_rows,
            compute=ray.data.ActorPoolStrategy(size=_PROCESSES),
        )
    )
    found = pa.concat_tables(ray.get(scored.to_arrow_refs()))
    ray.shutdown()
    return found


def _spark(table: pa.Table, options: Mapping[str, Any], batch_rows: int) -> pa.Table:
    from pyspark.sql import SparkSession
    from pyspark.sql.types import StructType

    os.environ["PYSPARK_PYTHON"] = sys.executable
    spark = (
        SparkSession.builder.master(f"local[{_PROCESSES}]")
        .config("spark.driver.host", "localhost")
        .config("spark.ui.enabled", "false")
        .config("spark.log.level", "ERROR")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.sql.execution.arrow.maxRecordsPerBatch", str(batch_rows))
        .getOrCreate()
    )
    rows = spark.createDataFrame(table.to_pandas()).repartition(_PROCESSES)
    scorer = TimedScorer(**options)
    schema = StructType(list(rows.schema.fields))
    for name, kind in {**scorer.scorer.column_types, **RECORDED}.items():
        schema.add(name, kind)
    frame = rows.mapInPandas(scorer, schema).toPandas()
    spark.stop()
    return pa.Table.from_pandas(frame, preserve_index=False)


def _dask(table: pa.Table, options: Mapping[str, Any], batch_rows: int) -> pa.Table:
    import dask.dataframe as dd
    from dask.dataframe.utils import make_meta

    rows = dd.from_pandas(table.to_pandas(), npartitions=max(_PROCESSES, len(table) // batch_rows))
    scorer = TimedScorer(**options)
    scored = rows.map_partitions(scorer, meta=scorer(make_meta(rows)))
    frame = scored.compute(scheduler="processes", num_workers=_PROCESSES)
    return pa.Table.from_pandas(frame, preserve_index=False)


#: The ways by name; the first is that to which the others are compared.
WAYS: Final[Mapping[str, Way]] = {
    "one_process": _one_process,
    "pandas": _pandas,
    "datasets": _datasets,
    "ray": _ray,
    "spark": _spark,
    "dask": _dask,
}
