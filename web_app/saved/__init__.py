"""Messages that a person keeps for themselves."""
