"""The evaluation of models: labelled texts and the behaviour suite in, figures and a report out.

    training.data.rows -> scored -> measures -> comparison -> results -> terminal, JSON, page
    (files)               (scores)  (a model)   (two models)

`behaviour` takes the same path from its own cases, `run` evaluates the models, and `command` reads
the options. May import `training.data`, `training.metrics`, `training.errors`, `training.extra`,
`providers.loading`, `scoring`, `settings` and `sentq`.
"""
