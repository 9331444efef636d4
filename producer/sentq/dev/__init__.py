"""A complete sentq on one machine: an embedded Redis, a worker, and a fake Hub.

May import `connection` and `settings`.
"""
