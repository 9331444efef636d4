"""The trials that choose how a model is run: which exact way, library and dtype are fastest.

May import `engine`, and all of `inference` except `loading` and `model`.
"""
