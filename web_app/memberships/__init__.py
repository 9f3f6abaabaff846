"""Who is in a channel: adding, joining, leaving, removing."""
