"""ejabberd as a broadcaster, from Debian's packages: rooms of XEP-0045, over WebSocket (RFC 7395).

It keeps the last twenty messages of a room in memory, as when it is told nothing else; with `archive` (XEP-0313, in its
own database) each is stored before it is shown. What is not as it comes is to its advantage: a room is not told who
enters, because a thousand newcomers told to a thousand members would be most of a run; and it has one scheduler, as the
others have one process, which sleeps instead of spinning: what two that spin do is a third more a delivery.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

from benchmarks.core.debian import unpacked
from benchmarks.core.native import Unavailable
from benchmarks.core.rival import Poster, Rival
from benchmarks.core.usage import cpu_seconds
from deploy.local.ports import free_ports
from tests.stack.process import Process

_CONFIGURATION = """
hosts: [localhost]
loglevel: error
auth_method: anonymous
anonymous_protocol: sasl_anon
websocket_ping_interval: 1 hour
websocket_timeout: 1 hour
listen:
  - port: {port}
    ip: 127.0.0.1
    backlog: 4096
    module: ejabberd_http
    request_handlers: {{/ws: ejabberd_http_ws}}
modules:
  mod_muc:
    history_size: 20
    max_users: 20000
    default_room_options: {{max_users: 20000, presence_broadcast: [], mam: true}}
"""
_ARCHIVE = "  mod_mam: {}\n"

_OPEN = '<open xmlns="urn:ietf:params:xml:ns:xmpp-framing" to="localhost" version="1.0"/>'
_LOG_IN = '<auth xmlns="urn:ietf:params:xml:ns:xmpp-sasl" mechanism="ANONYMOUS"/>'
_BIND = '<iq type="set" id="bind"><bind xmlns="urn:ietf:params:xml:ns:xmpp-bind"/></iq>'
_ENTER = (
    '<presence to="{room}@conference.localhost/{nick}">'
    '<x xmlns="http://jabber.org/protocol/muc"><history maxstanzas="0"/></x></presence>'
)
_ENTERED = "<subject"
"""XEP-0045, 7.2.2: the room's subject ends what one is sent on entering, also when it is empty."""


def _enter(room: str, nick: object) -> str:
    return "\t".join((_OPEN, _LOG_IN, _OPEN, _BIND, _ENTER.format(room=room, nick=nick)))


def _poster(room: str) -> Poster:
    before = f'<message to="{room}@conference.localhost" type="groupchat"><body>'
    return Poster("/ws", _enter(room, "poster"), before, "</body></message>")


@contextlib.asynccontextmanager
async def ejabberd(*, archive: bool = False) -> AsyncIterator[Rival]:
    """Running, on a port of its own, with its files in a folder of its own. Raises Unavailable where it cannot be had or
    started."""
    files = await asyncio.to_thread(unpacked, "ejabberd", needing="erlang-")
    root = files / "usr/lib/erlang"
    programs = next(iter(root.glob("erts-*/bin")), None)
    if programs is None:
        raise Unavailable(f"the packages of ejabberd have no erts in {root}")
    (port,) = free_ports(1)
    place = Path(tempfile.mkdtemp(prefix="lockstep-ejabberd-"))
    (place / "ejabberd.yml").write_text(_CONFIGURATION.format(port=port) + (_ARCHIVE if archive else ""))
    # As `erl` and `ejabberdctl` do, which know only the places where the packages are installed. Without a name the node
    # starts no epmd, which would stay behind.
    environment = {
        "ROOTDIR": str(root),
        "BINDIR": str(programs),
        "EMU": "beam",
        "PROGNAME": "erl",
        "ERL_LIBS": str(next(files.glob("usr/lib/*-linux-*"))),
        "HOME": str(place),
        "EJABBERD_CONFIG_PATH": str(place / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(place / "ejabberd.log"),
    }
    command = [
        str(programs / "erlexec"),
        "-noinput",
        "-mnesia",
        "dir",
        f'"{place}/database"',
        "-s",
        "ejabberd",
    ]
    command += ["+P", "250000", "+S", "1:1", "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none"]

    async def ready() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    process = Process("ejabberd", command, place / "log", ready=ready, environment=environment, cwd=place)
    try:
        try:
            await process.start(30.0)
        except (AssertionError, TimeoutError) as error:
            raise Unavailable(f"ejabberd does not start here: {process.tail(300).strip()}") from error
        yield Rival(port, partial(cpu_seconds, process.pid), _enter, _poster, answer=_ENTERED)
    finally:
        await process.destroy()
        shutil.rmtree(place, ignore_errors=True)
