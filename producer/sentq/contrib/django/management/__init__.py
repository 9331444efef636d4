"""The commands of `manage.py`. May import everything of the client."""
