"""A report on scored rows, as one HTML file: labels, scores, lengths, examples, dates, categories.

`facts` reads the output of a run and counts; `page` makes the page of `page.html.jinja`. The page
has texts of the data, so it is as private as they are. May import `sentq.version`, and of
`sentq.files` only `reading`, `outcomes` and `formats`.
"""
