"""Administration: the status of the service, its dead letters, and the functions in Redis.

May import `results`, `connection` and `wire`.
"""
