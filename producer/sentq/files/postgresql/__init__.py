"""Tables of PostgreSQL: their rows as the input of a run, and their columns as its output.

    address ◀─ session ◀─ catalog ◀─ columns ◀─ source
                              ▲─────────────────── target

`address` parses URLs, and shows them without a password. A `session` runs transactions, and
repeats them if the connection is lost. `catalog` says what a table is, and `columns` how its values
are read. `source` reads rows in the order of a key, and `target` stores outcomes and the state of
the run in one transaction. All but `address` need psycopg (`sentq[postgresql]`). May import
`sentq.contract`, `sentq.errors`, and of `sentq.files` the modules `formats`, `outcomes`, `values`
and `reading`.
"""
