"""Benchmarks: every figure that the README quotes has its command here."""
