"""Log-ins and their live connections, presence by hand, and what admins see of the channel servers."""
