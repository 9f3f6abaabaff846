"""nchan (nginx) as a broadcaster, from Debian's packages. It keeps the last messages of a channel in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import psutil

from benchmarks.core.debian import unpacked
from benchmarks.core.native import Unavailable
from benchmarks.core.rival import Poster, Rival
from benchmarks.core.usage import cpu_seconds
from deploy.local.ports import free_ports
from tests.stack.process import Process

_CONFIGURATION = """
user root;
load_module {files}/usr/lib/nginx/modules/ngx_nchan_module.so;
daemon off;
worker_processes 1;
pid {place}/nginx.pid;
error_log stderr;
events {{ worker_connections 19000; }}
http {{
    access_log off;
    client_body_temp_path {place}/body; proxy_temp_path {place}/proxy; fastcgi_temp_path {place}/fastcgi;
    uwsgi_temp_path {place}/uwsgi; scgi_temp_path {place}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/sub/([\\w-]+)$ {{
            nchan_subscriber websocket; nchan_channel_id $1; nchan_subscriber_first_message newest;
        }}
        location ~ ^/pub/([\\w-]+)$ {{
            nchan_publisher websocket; nchan_channel_id $1;
            nchan_message_buffer_length 1000; nchan_message_timeout 1h;
        }}
    }}
}}
"""

# The module makes /var/lib/nginx/body whatever it is told: in a view of its own that folder is nobody else's.
_START = 'mount -t tmpfs none /var/lib && mkdir /var/lib/nginx && exec "$0" -p "$1/" -c "$1/nginx.conf"'


def _cpu(pid: int) -> float:
    """Seconds of nginx and its worker."""
    master = psutil.Process(pid)
    return sum(cpu_seconds(each.pid) for each in (master, *master.children(recursive=True)))


@contextlib.asynccontextmanager
async def nchan() -> AsyncIterator[Rival]:
    """Running, on a port of its own. Raises Unavailable where it cannot be had or started."""
    files = await asyncio.to_thread(unpacked, "nginx", "libnginx-mod-nchan")
    if shutil.which("unshare") is None:
        raise Unavailable("unshare (util-linux) is not here: nchan is run in a view of the files of its own")
    (port,) = free_ports(1)
    place = Path(tempfile.mkdtemp(prefix="lockstep-nchan-"))
    (place / "nginx.conf").write_text(_CONFIGURATION.format(files=files, place=place, port=port))
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", _START]
    command += [str(files / "usr/sbin/nginx"), str(place)]

    async def ready() -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    process = Process("nchan", command, place / "log", ready=ready, environment=dict(os.environ))
    try:
        try:
            await process.start(15.0)
        except (AssertionError, TimeoutError) as error:
            raise Unavailable(f"nchan does not start here: {process.tail(300).strip()}") from error
        yield Rival(
            port,
            partial(_cpu, process.pid),
            listener=lambda room, _: f"/sub/{room}",
            poster=lambda room: Poster(f"/pub/{room}"),
            echoes=False,
        )
    finally:
        await process.destroy()
        shutil.rmtree(place, ignore_errors=True)
