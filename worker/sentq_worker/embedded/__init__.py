"""The engine in a process of yours: texts and tables are scored where they are, without a queue.

    scorer    the public `Scorer`: options, texts, batches of columns
    models    what this process has loaded: each model once
    tables    columnar batches: a dict, an Arrow table, a frame of pandas or polars

May import `providers.loading`, `scoring`, `engine`, `settings` and `sentq`; neither Celery nor
Redis. What needs torch is imported when a model is loaded.
"""
