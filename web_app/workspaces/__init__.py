"""Workspaces: signing up a new one with its owner."""
