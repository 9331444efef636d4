"""The keys of clients: made and kept, checked in each request, limited in what they may send.

`records` knows what a key is, `store` where keys are kept, `limits` counts what they send, `owners`
whose a job is, and `admission` is what an operation asks for. May import everything of the gateway
but `routes`, `batches`, `middleware`, `app` and `server`.
"""
