"""Redis as a worker uses it: delivery, leases, recovery, dead letters and stored results.

Kombu's channel and QoS are extended here, and every Lua script of the worker is run from here. May
import `engine.base` for `EngineInfo`, and the client package's `wire` and `connection`.
"""
