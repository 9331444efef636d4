"""Files of texts: read them, score them with the other columns beside, and resume.

`formats` knows which format a file's name implies, and `inputs` which files an argument names.
`reading` reads rows, `writing` writes them with their outcomes, and `run` goes from one to the
other: part by part, with a manifest. What scores the texts is given to a run: a client, or the
engine of this process. May import `sentq.contract`, `sentq.errors` and `sentq.rendering`.
"""

from sentq.files.formats import FileProblem, Format, MissingLibrary

__all__ = ["FileProblem", "Format", "MissingLibrary"]
