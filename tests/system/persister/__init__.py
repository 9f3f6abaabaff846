"""The persister against a real log and a real database: exactly once, whatever is killed."""
