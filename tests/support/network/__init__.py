"""Network namespaces of Linux: processes that see a network as if each had a host of its own."""
