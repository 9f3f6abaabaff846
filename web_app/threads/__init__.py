"""Threads: their pages, and which of those that one follows have something unread. Following is in read_state."""
