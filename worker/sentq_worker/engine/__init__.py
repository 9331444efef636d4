"""The contracts between a worker and the code that computes scores, without an implementation.

`base` defines what an engine does with windows of tokens, `provider` what a provider does with
jobs. Imports no other package of the worker.
"""
