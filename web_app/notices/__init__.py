"""Notices that one missed, by REST; announcements."""
