"""Invitations into a workspace: single-use links with an end."""
