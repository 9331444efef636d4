"""The model in this process, with torch: load it, choose the fastest exact way, run it.

Padding and packing on the CPU and on CUDA, and the trials that decide between them. May import
`engine` alone.
"""
