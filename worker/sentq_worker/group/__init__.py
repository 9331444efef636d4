"""Several worker processes under one parent: one for each device, or for each group of cores.

`command` runs the parent, which starts its children, restarts them, and shows their metrics and
probes on one port. A child is an ordinary worker with a `ParentLink`. The parent loads no model and
speaks to no Redis. May import `settings`, `backoff`, `exit_codes` and `reports`.
"""
