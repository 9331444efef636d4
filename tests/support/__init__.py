"""Helpers of the tests: processes, proxies, servers, stand-in workers and small models."""
