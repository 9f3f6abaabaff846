"""The web app: `create_app(settings)` puts the parts together, `serve` runs it. Importing this does nothing."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import PackageNotFoundError, version
from typing import Final

import structlog
from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.runtime.admin import admin_routes, serving
from services.runtime.settings import SettingsError
from web_app import problems
from web_app.audit import endpoints as audit
from web_app.auth import endpoints as auth
from web_app.auth.attempts import Attempts
from web_app.auth.keys import KeyRing, load_private_keys
from web_app.auth.passwords import Passwords
from web_app.channels import endpoints as channels
from web_app.database import Database
from web_app.groups import endpoints as groups
from web_app.invites import endpoints as invites
from web_app.memberships import endpoints as memberships
from web_app.messages import endpoints as messages
from web_app.messages.channel_servers import ChannelServers
from web_app.notices import endpoints as notices
from web_app.observation import Observation
from web_app.parts import Parts
from web_app.preferences import endpoints as preferences
from web_app.read_state import endpoints as read_state
from web_app.realtime import endpoints as realtime
from web_app.saved import endpoints as saved
from web_app.scheduled import endpoints as scheduled
from web_app.scheduled.sender import Sender
from web_app.sessions import endpoints as sessions
from web_app.settings import WebSettings
from web_app.sync import endpoints as sync
from web_app.threads import endpoints as threads
from web_app.upkeep import Upkeep
from web_app.users import endpoints as users
from web_app.workspaces import endpoints as workspaces

DESCRIPTION: Final = """\
Who may do what, and history. Messages in real time go over the WebSocket of a channel server (`POST /v1/realtime`).

* Send `Authorization: Bearer` and the access token of a log-in; it is good for 15 minutes, then refresh it.
* Every error is a problem detail (RFC 9457) whose `code` is stable: decide by it.
* Commands take an `Idempotency-Key` (a UUIDv7): a repeat gives the first answer again and has no second effect.
* Lists are paged: hand `next_cursor` back as `cursor`.
* `directory_at` in a reply says where the channel servers know of a change: send it along with the next message.
* `x-request-id` comes back with every answer; name it when you report a defect.
"""

TAGS: Final = [
    {"name": "workspaces", "description": "Signing up; settings, handing over, leaving, deleting."},
    {"name": "auth", "description": "Logging in, tokens, sessions."},
    {"name": "users", "description": "The people of a workspace: roles, profiles, status."},
    {"name": "invites", "description": "Inviting people by single-use links."},
    {"name": "groups", "description": "User groups: people who are mentioned together."},
    {"name": "channels", "description": "Channels themselves."},
    {"name": "memberships", "description": "Who is in a channel."},
    {"name": "preferences", "description": "Muted channels, notification levels, do not disturb."},
    {"name": "messages", "description": "Posting, editing, reacting, and history by seq."},
    {"name": "threads", "description": "Replies, and who follows them."},
    {"name": "saved", "description": "Messages that one keeps for oneself."},
    {"name": "scheduled", "description": "Messages that are posted later."},
    {"name": "notices", "description": "What is addressed to people."},
    {"name": "read state", "description": "What one has read, on all devices."},
    {"name": "sessions", "description": "Where people are connected; presence."},
    {"name": "realtime", "description": "The way to a channel server."},
    {"name": "audit", "description": "What owners and admins did."},
]

DOMAINS: Final = (
    messages,
    sync,
    read_state,
    threads,
    realtime,
    channels,
    notices,
    sessions,
    users,
    auth,
    memberships,
    preferences,
    saved,
    scheduled,
    groups,
    invites,
    workspaces,
    audit,
)
"""In the order in which a request's address is looked for: what is asked most comes first."""

log = structlog.get_logger()


def create_app(settings: WebSettings) -> FastAPI:
    """The application; it connects to nothing before it is started (lifespan).

    Raises SettingsError when a secret cannot be read.
    """
    database = Database(settings, "web_app", settings.web_database_pool)
    parts = Parts(
        settings=settings,
        database=database,
        keys=KeyRing(settings.signing_keys),
        passwords=Passwords(settings),
        attempts=Attempts(settings),
        channel_servers=ChannelServers(settings.nodes, settings.secret("service_token")),
    )
    upkeep = Upkeep(database, parts.keys)
    sender = Sender(database)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(database.close)
            await stack.enter_async_context(parts.channel_servers)
            await stack.enter_async_context(upkeep.running())
            await stack.enter_async_context(sender.running())
            yield

    app = build_api(lifespan)
    app.state.parts = parts
    app.state.upkeep = upkeep
    app.state.sender = sender
    app.router.routes.extend(admin_routes(upkeep.ready))
    return app


def build_api(lifespan: Callable[[FastAPI], AbstractAsyncContextManager[None]] | None = None) -> FastAPI:
    """The routes and their description, without the parts that they work with."""
    app = FastAPI(
        title="Lockstep",
        description=DESCRIPTION,
        version=_version(),
        openapi_tags=TAGS,
        openapi_url="/v1/openapi.json",
        redoc_url=None,
        lifespan=lifespan,
    )
    # Not `include_router`: the routes have all they need, and behind one they are matched twice, at twice the cost.
    routes = [route for domain in DOMAINS for route in domain.router.routes]
    app.router.routes.extend(routes)
    problems.install(app, [route for route in routes if isinstance(route, APIRoute)])
    app.add_middleware(Observation)
    return app


async def serve(settings: WebSettings, stop: asyncio.Event) -> None:
    """Serve until `stop`. Raises SettingsError when there is no key to sign with or no channel server is named."""
    if not load_private_keys(settings.signing_keys):
        raise SettingsError(
            f"signing keys: there is no <kid>.pem in {settings.signing_keys}; `python -m web_app keys add` makes one"
        )
    if not settings.nodes:
        raise SettingsError("LOCKSTEP_NODES: name at least one channel server")
    app = create_app(settings)
    async with serving(app, settings.web_host, settings.web_port) as port:
        # What is here now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()
        log.info("listening", host=settings.web_host, port=port)
        stopped = asyncio.create_task(stop.wait())
        failed = [asyncio.create_task(each.failed()) for each in (app.state.upkeep, app.state.sender)]
        try:
            await asyncio.wait([stopped, *failed], return_when=asyncio.FIRST_COMPLETED)
            for each in failed:
                if each.done():
                    each.result()
        finally:
            stopped.cancel()
            for each in failed:
                each.cancel()


def _version() -> str:
    try:
        return version("lockstep")
    except PackageNotFoundError:
        return "0"
