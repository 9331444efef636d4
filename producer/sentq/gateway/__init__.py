"""`sentq gateway`: sentq over HTTP, for programs in any language.

    request ── middleware ──▶ routes ──┬─▶ keys, bodies, idempotency
                                       └─▶ client (`AsyncClient`) ──▶ Redis

A gateway keeps nothing in its process: any number of them serve one Redis. It knows FastAPI and
uvicorn, the extra `sentq[gateway]`, and no torch. Only `settings` can be imported without them.
May import everything of the client but `cli` and `testing`.
"""
