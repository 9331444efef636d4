"""The forms that client and worker share in Redis: job ids, result documents, dead letters, worker
reports, the states of a job, and Lua scripts.

May import only `contract` and `errors`.
"""
