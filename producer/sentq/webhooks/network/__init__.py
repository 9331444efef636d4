"""Where requests of webhooks may go, and how one is sent: URLs, the operator's list, addresses,
connections. Imports settings and errors only, and httpcore where requests are sent."""
