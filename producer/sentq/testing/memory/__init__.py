"""An in-memory Redis, as far as clients of sentq use it: keys, commands, scripts, channels.

It stands in for Redis in the test kit. It runs in the process of the test and has no thread. May
import `connection`, `sending.limits` and `wire`.
"""
