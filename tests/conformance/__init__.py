"""An echo server on the product's WebSocket class, and the Autobahn suite (RFC 6455) run against it."""
