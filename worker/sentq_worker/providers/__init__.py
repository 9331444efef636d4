"""Who computes scores: the local model, the Hugging Face Hub, or one with the other as fallback.

Each provider implements `engine.provider`. `factory` builds the one that the settings ask for. May
import `scoring`, `inference` and `engine`.
"""
