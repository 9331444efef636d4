"""The contracts between a worker and what computes scores; no implementation.

`base` says what an engine promises for windows of tokens, `provider` what a provider promises for
jobs. Imports nothing else of the worker.
"""
