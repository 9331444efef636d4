"""How good a model is: labelled texts and the behaviour suite in, figures and a report out.

The path of the data: `training.rows` (files -> rows) -> `scored` (rows -> probabilities, by the
worker's own scoring) -> `measures` with `calibration` (figures of one model) -> `comparison` (two
models on the same rows) -> `results` -> `terminal`, JSON or `page` with `plots`. `behaviour` goes
the same way from its own cases. `command` wires them together.
"""
