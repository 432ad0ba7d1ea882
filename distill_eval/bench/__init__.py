"""How fast models answer: load on a server or an engine, timed request by request."""
