"""History: what workers completed in the last hour, kept in Redis for charts.

May import `wire`.
"""
