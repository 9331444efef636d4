"""Fine-tuning: labelled rows in, an ordinary model folder out.

    data.rows -> data.corpus -> data.training_set -> step.learner -> model.export + report.record
    (files)      (label set)    (model batches)      (one step)      (folder)       (its README)

`command` reads the options, `session` runs one training from start to export, and
`loop.trainer` runs the epochs. Besides its own modules, the package may import only what needs no
running worker: `sentq` and the libraries of the extra `training`.
"""
