"""`sentq gateway`: serve sentq over HTTP, and manage the keys of its clients.

May import what the other commands may.
"""
