"""Small models, scripted engines and providers, and the reference implementation's scores."""
