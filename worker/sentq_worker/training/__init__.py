"""Fine-tuning: labelled rows in, an ordinary model folder out.

The path of the data: `rows` (files by `formats`, the Hub by `dataset` -> checked rows) ->
`corpus` (label set, token ids) -> `batches` (the order of an epoch) -> `learner` (one step)
under `loop` (epochs, checkpoints) -> `export` (the folder) with `card` (its README). `command`
wires them together.
"""
