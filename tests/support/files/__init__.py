"""Runs over files: what scores their texts in tests, hostile files, and runs that are killed."""
