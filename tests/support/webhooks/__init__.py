"""Receivers of webhooks, and processes that deliver."""
