"""Injects faults into workers, Redis and the network, and audits the result of each accepted job.

    schedule    the faults and their times, drawn from a seed
    site        real processes: a Redis, and workers and producers behind proxies
    faults      injects a schedule into a site
    jobs        the texts of each job
    producer    sends jobs, and records each accepted one in a file
    audit       counts lost, wrong and duplicate results from these records and Redis
    recovery    measures the recovery from a single fault
    run         executes a plan and returns its audit

The tests in `tests/faults` and `benchmarks/chaos.py` run the same code with different sizes.
"""
