"""Engines: what turns windows of tokens into probabilities. `base` says what one promises."""
