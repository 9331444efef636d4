"""The model around a training: loaded from its base, calibrated, and exported.

`base` loads model and tokenizer, `hardware` chooses device and precision, `temperature`
calibrates the finished weights, and `export` writes the folder. May import `training.errors` and
`training.files`.
"""
