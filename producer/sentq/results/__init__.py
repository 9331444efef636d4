"""Reading outcomes: waiting for one job, reading many in order, cancelling.

May import `connection` and `wire`.
"""
