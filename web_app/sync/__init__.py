"""The whole start of a client in one answer, by a fixed number of queries."""
