"""Certificates for tests, and a TLS server that records what clients send to it."""
