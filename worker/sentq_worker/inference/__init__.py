"""The model in this process, with torch: load it, choose the fastest exact way, run it.

Padded and packed batches on the CPU and on CUDA, and the trials that choose between them. May
import `engine` alone.
"""
