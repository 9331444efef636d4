"""A web application that awaits scores, and a client that sends it many requests at once."""
