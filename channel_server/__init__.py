"""Who hears what, now: WebSockets, numbering, fan-out, resume, back pressure. Works without PostgreSQL."""
