"""The providers of scores: the local engine, the Hugging Face Hub, or one as a fallback.

Each provider implements `engine.provider.Provider`. `factory` makes the one that the settings ask
for. May import `scoring`, `inference`, `engine`, `settings` and `backoff`.
"""
