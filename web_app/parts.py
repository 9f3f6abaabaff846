"""What one web app is made of; built by `main.create_app`, reached by endpoints through `dependencies`."""

from __future__ import annotations

from dataclasses import dataclass

from web_app.auth.attempts import Attempts
from web_app.auth.keys import KeyRing
from web_app.auth.passwords import Passwords
from web_app.database import Database
from web_app.messages.channel_servers import ChannelServers
from web_app.settings import WebSettings


@dataclass(frozen=True, slots=True)
class Parts:
    settings: WebSettings
    database: Database
    keys: KeyRing
    passwords: Passwords
    attempts: Attempts
    channel_servers: ChannelServers
