"""Administration: the status of the service, and its dead letters.

May import `results`, `connection` and `wire`.
"""
