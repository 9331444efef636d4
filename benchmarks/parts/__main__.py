"""The parts of texts: segmenters, agreement of `mixed` and of labels, speed with and without.

    python -m benchmarks.parts segmenters|mixed|speed [--model FOLDER] [--repeats N] [--json]

The labelled reviews are those of `reviews.jsonl` here. They were written for sentq.
"""

from __future__ import annotations

from benchmarks.figures import argument_parser, show
from benchmarks.parts.agreement import measure_agreement
from benchmarks.parts.reviews import read_reviews
from benchmarks.parts.segmenters import compare_segmenters
from benchmarks.parts.speed import measure_speed


def main() -> None:
    """Print the figures: one per line, or one JSON object."""
    parser = argument_parser(__doc__)
    parser.add_argument("what", choices=["segmenters", "mixed", "speed"], help="what to measure")
    parser.add_argument("--model", help="a folder or Hub id (the bundled model)")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each way (%(default)s)")
    options = parser.parse_args()
    reviews = read_reviews()
    if options.what == "segmenters":
        figures = dict(compare_segmenters(reviews))
    elif options.what == "mixed":
        figures = dict(measure_agreement(reviews, options.model))
    else:
        figures = dict(measure_speed(reviews, options.model, repeats=options.repeats))
    show(figures, as_json=options.json)


if __name__ == "__main__":
    main()
