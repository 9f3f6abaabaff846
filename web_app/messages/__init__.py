"""Posting a message through a channel server, and reading history by seq."""
