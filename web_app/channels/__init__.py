"""Channels: making, finding, naming and archiving them; direct channels, one for each set of people."""
