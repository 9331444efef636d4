"""The bodies of requests: read as they arrive, with bounded memory and time.

`incoming` yields the bytes, decompressed; `json_body` makes one document of them. May import
`sentq.gateway.errors`.
"""
