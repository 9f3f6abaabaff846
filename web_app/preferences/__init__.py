"""What people want to hear: of a channel (muted, level), and when they want to be left alone."""
