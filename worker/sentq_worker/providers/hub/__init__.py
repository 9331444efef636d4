"""The Hugging Face Inference API as a provider: client, connection pool, budget, and windows.

Needs the extra `hub` and no torch. May import `scoring`, `engine`, and the breaker of
`providers`.
"""
