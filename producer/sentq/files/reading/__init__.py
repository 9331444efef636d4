"""Read rows of files, in order and in bounded memory.

    opening ─▶ lines ─▶ separated, json_lines ─┬─▶ records ─▶ texts
       └──────────────▶ parquet ───────────────┴─▶ sources ─▶ chunks

`opening` gives bytes and `lines` text; `separated` (CSV, TSV), `json_lines` and `parquet` know one
format each. `records` yields single rows for training and `texts` only their texts; `sources` yield
chunks of rows with all columns, for a run. May import `sentq.contract`, and of `sentq.files` only
`formats`, `outcomes` and `values`.
"""
