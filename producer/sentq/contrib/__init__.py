"""sentq in web frameworks: one module or package for each, in that framework's own idioms.

`problems` maps errors to HTTP, `processes` keeps a client for each process, and `asgi` is for any
ASGI application; these know no framework. The others import their framework. Outside this package
only `sentq.gateway` imports them, so `import sentq` does not import a framework. May import
everything else of the client but `gateway` and `testing`.
"""
