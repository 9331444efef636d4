"""Labelled rows: files and Hub datasets in, model batches of token ids out.

`rows` reads and checks rows (files by `formats`, the Hub by `hub_dataset`), `corpus` splits and
tokenises them, and `training_set` with `batches` and `windows` decides what an epoch trains on.
May import `training.errors` and `training.extra`; no module here needs torch.
"""
