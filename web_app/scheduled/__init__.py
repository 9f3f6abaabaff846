"""Messages that are to be posted later, and the worker that does it."""
