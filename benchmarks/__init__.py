"""Benchmarks: the command behind each figure that README and docs quote."""
