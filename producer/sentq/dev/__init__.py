"""The local stack for development: an embedded Redis, a worker, and a fake Hub.

May import `connection` and `settings`.
"""
