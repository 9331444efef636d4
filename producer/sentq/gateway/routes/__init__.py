"""The operations: one module for each kind of page. May import everything of the gateway but `app`
and `server`."""
