"""The relay against a real log and a real database: what a transaction wanted published is, once and in order."""
