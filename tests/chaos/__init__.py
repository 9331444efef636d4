"""Breaks everything that can break, by a seed, and says where each accepted job ended.

    schedule    which fault when, from a seed
    site        a Redis, workers behind proxies, producers behind proxies: real processes
    faults      inflicts a schedule on a site
    producer    sends jobs, and notes each that was accepted, in a file
    answers     hears each final answer that is published
    audit       reads all of these, and Redis, and says what was lost, wrong or done twice
    run         the whole: a plan in, a report out

The test in `tests/faults` and `benchmarks/chaos.py` run the same code, at different sizes.
"""
