"""The commands that serve monitoring: `sentq exporter` and `sentq flower`.

May import what the other commands may.
"""
