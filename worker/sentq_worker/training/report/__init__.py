"""What a finished training records about itself: README.md, training.json and training.svg.

`record` collects the facts, `card` writes the model card, and `chart` draws the curves. May
import `training.loop`, `training.options` and what is below them.
"""
