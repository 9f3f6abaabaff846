"""A stack with a proxy between every two of its parts, so that any one wire can be cut, stalled or slowed."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from deploy.local.ports import free_ports
from deploy.settings import SERVICES
from tests.faults.lab import Lab
from tests.faults.load import Load
from tests.faults.outcome import Outcome
from tests.faults.told import Spell, spell
from tests.stack.lockstep import Stack
from tests.stack.proxy import Proxy, proxy

_KAFKA_USERS: Final = tuple(service.name for service in SERVICES if service.name != "web_app")
_DATABASE_USERS: Final = tuple(service.name for service in SERVICES if service.database)

CUT: Final = "cut"
DEAF: Final = "one-way cut, towards the server"
MUTE: Final = "one-way cut, from the server"
SLOW: Final = "300 ms latency"
FAULTS: Final = (CUT, DEAF, MUTE, SLOW)


class Junction:
    """One listener in front of one server; behind it a proxy for each process that connects.

    A broker advertises one address to everybody, so who is calling is found out by whose socket it is. `links`: by
    the process's name; what nobody named opened takes `others`.
    """

    def __init__(self, target_port: int, names: Iterable[str]) -> None:
        self.links = {name: Proxy("127.0.0.1", target_port) for name in names}
        self.others = Proxy("127.0.0.1", target_port)
        self.pids: Callable[[], Mapping[str, int]] = dict
        self.port = 0
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for link in (*self.links.values(), self.others):
            await link.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(writer.get_extra_info("peername")[1])
        name = await asyncio.to_thread(_owner, dict(self.pids()), port, self.port)
        await (self.others if name is None else self.links[name]).accept(reader, writer)


def _owner(pids: Mapping[str, int], port: int, far_port: int) -> str | None:
    """Which of these processes connected from `port` to `far_port`."""
    for name, pid in pids.items():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            for connection in psutil.Process(pid).net_connections(kind="tcp4"):
                if connection.laddr[1] == port and connection.raddr and connection.raddr[1] == far_port:
                    return name
    return None


@contextlib.asynccontextmanager
async def _junction(target_port: int, names: Iterable[str]) -> AsyncIterator[Junction]:
    made = Junction(target_port, names)
    await made.start()
    try:
        yield made
    finally:
        await made.close()


@dataclass(frozen=True)
class Wires:
    """The proxies of a stack.

    web         between web_app and its clients
    clients     node -> between it and its clients
    internal    node -> between it and web_app
    kafka       process -> between it and the broker
    database    process -> between it and PostgreSQL
    """

    web: Proxy
    clients: Mapping[str, Proxy]
    internal: Mapping[str, Proxy]
    kafka: Mapping[str, Proxy]
    database: Mapping[str, Proxy]


async def wired_stack(lab: Lab, environment: Mapping[str, str] | None = None) -> tuple[Stack, Wires]:
    """A running stack of one broker and two nodes, every connection of which goes over a wire of its own."""
    port = free_ports(1)[0]
    junction = await lab.own(_junction(port, _KAFKA_USERS))
    kafka = await lab.broker(advertised=junction.port, port=port)
    clients, internal, database = dict[str, Proxy](), dict[str, Proxy](), dict[str, Proxy]()

    async def connect(stack: Stack) -> None:
        addresses = {item["name"]: item for item in json.loads(stack.site.nodes())}
        for node in (service for service in SERVICES if service.is_node):
            websocket, inner = (stack.site.ports[listener.setting] for listener in node.listeners)
            clients[node.name] = await lab.own(proxy("127.0.0.1", websocket))
            internal[node.name] = await lab.own(proxy("127.0.0.1", inner))
            addresses[node.name] |= {
                "websocket": f"ws://127.0.0.1:{clients[node.name].port}/v1/websocket",
                "internal": f"http://127.0.0.1:{internal[node.name].port}",
            }
        for name in _DATABASE_USERS:
            database[name] = await lab.own(proxy("127.0.0.1", stack.postgres.server.port))
            stack.processes[name].environment["LOCKSTEP_DATABASE_PORT"] = str(database[name].port)
        for process in stack.processes.values():
            process.environment["LOCKSTEP_NODES"] = json.dumps(list(addresses.values()))
        junction.pids = lambda: {name: stack.processes[name].pid for name in _running(stack)}

    def _running(stack: Stack) -> list[str]:
        return [name for name in _KAFKA_USERS if stack.processes[name].running]

    stack = await lab.stack(kafka=kafka, environment=environment, prepare=connect)
    web = await lab.own(proxy("127.0.0.1", int(stack.web_url.rpartition(":")[2])))
    stack.web_port = web.port
    wires = Wires(web, clients, internal, junction.links, database)
    for name, link in wires.kafka.items():
        assert link.connections, f"no connection of {name} was recognised"
    return stack, wires


@contextlib.asynccontextmanager
async def faulty(kind: str, wires: Iterable[Proxy]) -> AsyncIterator[None]:
    """These wires have this fault during the block. What a one-way cut held back flows on afterwards, late."""
    chosen = list(wires)
    for wire in chosen:
        if kind == CUT:
            await wire.refuse()
        elif kind == SLOW:
            wire.delay = 0.3
        else:
            wire.stall("up" if kind == DEAF else "down")
    try:
        yield
    finally:
        for wire in chosen:
            wire.delay = 0.0
            wire.resume()


async def break_and_mend(
    lab: Lab,
    load: Load,
    outcome: Outcome,
    spells: list[Spell],
    wires: Sequence[Proxy],
    kind: str,
    hold: float,
    served_again: Callable[[], Awaitable[float]] | None = None,
) -> None:
    """One fault of `hold` to one and a half times as many seconds, under load, until everybody is served again.

    `served_again`: waits for whom the fault concerns (default: the people of the load); gives how long it took, seconds.
    """
    with spell(spells), load.during(kind):
        async with faulty(kind, wires):
            await asyncio.sleep(lab.rng.uniform(hold, hold * 1.5))
        outcome.recovery_s.append(await (served_again or load.served_again)())
