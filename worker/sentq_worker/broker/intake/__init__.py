"""How a channel comes to its messages: it waits, and looks whether there are any."""
