"""One optimizer step: a model batch in, updated weights out.

`learner` holds the model and takes the step, with `padding`, `objective`, `optimizer` and
`averaging` as its parts; `schedule` gives the learning rate of each step. May import
`training.errors`.
"""
