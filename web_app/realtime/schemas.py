"""What a client needs for its WebSocket."""

from __future__ import annotations

from web_app.fields import Reply, examples


class Realtime(Reply):
    """`token` is good for `expires_in` seconds, for reconnecting too, also while the web app is away.

    `directory_at`: where the channel servers know of you and of the key that signed the token.
    """

    model_config = examples(
        {
            "token": "eyJhbGciOiJFZERTQSIsImtpZCI6ImtleS0xIn0.eyJpc3MiOiJsb2Nrc3RlcCJ9.c2ln",
            "expires_in": 86400,
            "epoch": 1,
            "nodes": ["ws://127.0.0.1:8101/v1/websocket", "ws://127.0.0.1:8102/v1/websocket"],
            "directory_at": "user:usr_0193a1b2c3d47e5f8a9b0c1d2e3f4a5b@41",
        }
    )

    token: str
    expires_in: int
    epoch: int
    nodes: list[str]
    directory_at: str
