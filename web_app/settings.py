"""What the web app is told from outside: addresses, lifetimes, limits, and the cost of a password."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from services.contract.tokens import MAX_LIFETIME_S
from services.runtime.settings import DatabaseSettings, LogSettings, NodeAddress, Port

RateLimit = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}/(second|minute|hour)$")]


class WebSettings(LogSettings, DatabaseSettings):
    """`nodes`: every channel server. Lifetimes in seconds.

    The rate limits count in this process alone, so that with N copies of the web app they are N times as wide;
    the cost of Argon2 (RFC 9106, section 4: its second recommended option) and the few threads that may work on
    it bound guessing in any case.
    """

    web_host: str = "127.0.0.1"
    web_port: Port = 8000
    nodes: tuple[NodeAddress, ...] = ()

    web_database_pool: Annotated[int, Field(ge=1, le=200)] = 20
    web_access_token_s: Annotated[int, Field(ge=5, le=MAX_LIFETIME_S)] = 15 * 60
    web_realtime_token_s: Annotated[int, Field(ge=5, le=MAX_LIFETIME_S)] = MAX_LIFETIME_S
    web_refresh_token_s: Annotated[int, Field(ge=60)] = 30 * 24 * 3600
    web_refresh_grace_s: Annotated[int, Field(ge=0, le=600)] = 60
    """How long a used refresh token may be presented again, for an answer that was lost; 0: not at all."""
    web_invite_s: Annotated[int, Field(ge=60)] = 7 * 24 * 3600
    web_invite_link: Annotated[str, Field(pattern=r"^https?://[^\s#]{1,300}$")] = "http://127.0.0.1:8000/join"
    """Where the link of an invitation leads; `#` and the token follow."""

    web_at_least_s: Annotated[float, Field(ge=0, le=60)] = 5.0
    """How long a request that names a number waits for history to come to it."""

    web_login_limit: RateLimit = "20/minute"
    """Attempts to log in to one account from one address."""
    web_address_limit: RateLimit = "600/minute"
    """Sign-ups, accepted invitations and attempts to log in from one address; of IPv6, from one /64."""
    web_failure_limit: RateLimit = "100/hour"
    """Wrong attempts to log in to one account, from all addresses together."""
    web_invite_limit: RateLimit = "1000/hour"
    """Invitations made and renewed by one person."""
    web_create_limit: RateLimit = "120/minute"
    """Channels, direct channels and user groups made by one person."""
    web_change_limit: RateLimit = "60/minute"
    """Changes of one person's profile and status, of which everybody is told."""
    web_message_limit: RateLimit = "1200/minute"
    """What one person does in channels by REST: posting, editing, deleting, reacting, pinning, scheduling, saving,
    coming and going, changing channels. Channel servers have limits of their own for what comes over the WebSocket."""
    web_marker_limit: RateLimit = "1200/minute"
    """Read markers that one person moves, threads that they follow or no longer, preferences that they change."""

    web_password_time_cost: Annotated[int, Field(ge=1, le=20)] = 3
    web_password_memory_kib: Annotated[int, Field(ge=8, le=4 * 1024 * 1024)] = 64 * 1024
    web_password_parallelism: Annotated[int, Field(ge=1, le=16)] = 4
    web_password_threads: Annotated[int, Field(ge=1, le=64)] = 2
    web_password_queue: Annotated[int, Field(ge=1, le=10_000)] = 64
    """How many requests may wait for a thread; further ones are told to slow down."""

    @property
    def signing_keys(self) -> Path:
        """The folder of the private keys that sign tokens: `<kid>.pem`, Ed25519, PKCS 8."""
        return self.secrets_dir / "signing_keys"
