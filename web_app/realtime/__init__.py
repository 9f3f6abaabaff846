"""What a client needs for its WebSocket: a realtime token and the nodes' addresses."""
