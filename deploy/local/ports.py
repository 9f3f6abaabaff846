"""Ports: which are free, and who holds one that is not."""

from __future__ import annotations

import asyncio
import random
import socket

import psutil

_given: set[int] = set()
_range = (20_000, 32_000)


def choose_between(low: int, high: int) -> None:
    """From here on `free_ports` gives ports of this range only, so that processes side by side can keep apart."""
    global _range
    _range = (low, high)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, below the range from which the system gives ports to outgoing connections
    (a restarted server finds its own port again). Never the same one twice in this process."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*_range)
        if port not in _given and is_free(port):
            _given.add(port)
            found.append(port)
    return found


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could bind it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def holder(port: int) -> str | None:
    """`name (pid 123)` of the process that listens on a port; None when this user may not know."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
            try:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
            except psutil.Error:
                return None
    return None


async def accepts(port: int, host: str = "127.0.0.1") -> bool:
    """Whether something accepts connections there."""
    try:
        _, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    writer.close()
    return True
