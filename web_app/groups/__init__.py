"""User groups: people who can be mentioned together by a handle."""
