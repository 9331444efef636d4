"""Reading results: wait for one job, read many jobs in order, cancel a job.

May import `connection` and `wire`.
"""
