"""WebSocket connections: messages in, messages out, RFC 6455 in between; knows nothing of chat.

`listener.listen` accepts, `connection.WebSocketConnection` is one client, `framing` prepares what many clients get,
`protocol` is the sans-I/O rule book. What belongs here is what RFC 6455 and the socket demand; what a message means
belongs to the caller. docs/websocket.md says how each rule is met and what is refused.
"""
