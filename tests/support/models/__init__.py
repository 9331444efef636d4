"""Small models, scripted engines and providers, and what the reference implementation says."""
