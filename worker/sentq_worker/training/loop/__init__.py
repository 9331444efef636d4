"""The training loop: epochs, validation, checkpoints and progress.

`trainer` runs the epochs, `state` is how far they have come, `checkpoint` keeps both on disk, and
`progress` reports them on the terminal. May import `training.step`, `training.data`,
`training.model` and the modules below them.
"""
