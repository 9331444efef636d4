"""Measurements of `sentq score --out`: the cost of a run beside plain reading and writing."""
