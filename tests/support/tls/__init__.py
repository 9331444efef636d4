"""For tests: certificates, servers with TLS, and one that records what clients send to it."""
