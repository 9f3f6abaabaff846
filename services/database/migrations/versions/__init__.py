"""One file a revision; each can go up and down on a database that holds data."""
