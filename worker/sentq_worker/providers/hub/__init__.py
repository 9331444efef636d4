"""The Hugging Face Inference API as a provider: client, pool of calls, budget, and windows.

Needs the extra `hub`, and no torch. May import `scoring`, `engine`, `settings`, `backoff`, the
model files of `inference`, and the circuit breaker of `providers`.
"""
