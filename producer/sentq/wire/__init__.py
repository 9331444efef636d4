"""What lies in Redis and both sides read: job ids, result documents, dead letters, reports.

Imports only the contract and the errors.
"""
