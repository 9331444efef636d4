"""Commands that tests run as a user does, and the commands that documents show."""
