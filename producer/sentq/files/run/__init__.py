"""A run: score all rows of an input, part by part, and go on where an earlier run ended.

    source ── chunks ──▶ scoring ── outcomes ──▶ part, renamed ──▶ manifest, renamed ──▶ output

`run` is the loop, and `scoring` what it is given to score texts. `manifest` says what is written
and of what; `tally` counts, `watch` shows the progress, and `summary` what was counted. `command`
and `options` are what `sentq score` and `sentq-worker score` have in common. May import all of
`sentq.files`, and `sentq.rendering`.
"""
