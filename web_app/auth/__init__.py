"""Who somebody is: passwords, tokens and the keys that sign them, sessions, and the limits on guessing."""
