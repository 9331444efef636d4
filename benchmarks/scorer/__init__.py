"""`sentq_worker.Scorer` in Arrow, pandas, datasets, Ray, Spark and Dask, beside the bare engine."""
