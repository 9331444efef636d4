"""Write rows with their outcomes: one part after the other, then all parts as one output.

`parts` writes a part in each format, and joins parts. `output` knows what the name of an output
says, and where its parts are meanwhile. May import `sentq.files.reading.chunks`,
`sentq.files.outcomes`, `sentq.files.values` and `sentq.files.formats`.
"""
