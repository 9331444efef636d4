"""Batches over HTTP: an upload of any size becomes one batch, whose results are streamed back.

`records` keeps what a batch of jobs does not know: whose it is, and how its texts were cut into
jobs. `upload` cuts and sends, `download` puts the outcomes together again. May import what `routes`
may, but not `routes`.
"""
