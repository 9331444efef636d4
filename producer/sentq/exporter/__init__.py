"""`sentq exporter`: what Redis knows of the service, as metrics and as numbers to scale on.

It holds no model and no texts. May import everything but `cli` and the clients.
"""
