"""Attacks of single senders on a running service, and what its other users notice of them.

`python -m benchmarks.attacks` runs them against this checkout, or against another one. The attacks
use Redis and stock Celery only, so that they fit every version of sentq.
"""
