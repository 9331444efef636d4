"""Scheduled jobs in Redis: out of `unacked`, until they are due or taken out."""
