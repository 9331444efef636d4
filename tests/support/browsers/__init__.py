"""A browser that looks at the console, and what it finds."""
