"""A cell for tests of channel servers alone: an epoch, a directory written by the test, nodes, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from deploy.local.ports import free_ports
from services.contract.codes import CLOSES
from services.contract.directory import (
    ChannelRecord,
    DirectoryRecord,
    KeyRecord,
    MemberRecord,
    RevokedRecord,
    UserRecord,
)
from services.contract.envelope import encode_envelope, partition_of
from services.contract.events import Event, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.contract.tokens import Claims, sign_token
from services.eventlog.appender import Appender
from services.eventlog.directory import DirectoryWriter
from services.eventlog.epoch import create_generation, generations
from tests.stack.process import Process
from tests.stack.waiting import PATIENCE_S, until

SERVICE_TOKEN = "a-service-token-for-tests"
WORKSPACE = new_entity_id("ws")

_versions = itertools.count(1)


class Person:
    def __init__(self) -> None:
        self.id = new_entity_id("usr")
        self.session = new_entity_id("ses")


class Client:
    """A WebSocket client that keeps every frame: `frames` in order, `by_type` to look at them."""

    def __init__(self, socket: ClientConnection, person: Person) -> None:
        self.socket = socket
        self.person = person
        self.frames: list[dict[str, Any]] = []
        self.closed: int | None = None
        self._reading = asyncio.Event()
        self._reading.set()
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            async for message in self.socket:
                self.frames.append(json.loads(message))
                await self._reading.wait()
        except ConnectionClosed:
            pass
        self.closed = self.socket.close_code

    def stop_reading(self) -> None:
        """Take nothing more from the socket; what fits into its buffers is all that still comes."""
        self._reading.clear()

    def start_reading(self) -> None:
        self._reading.set()

    def by_type(self, kind: str, **fields: object) -> list[dict[str, Any]]:
        return [
            frame
            for frame in self.frames
            if frame["type"] == kind and all(frame.get(name) == value for name, value in fields.items())
        ]

    async def frame(self, kind: str, timeout: float = PATIENCE_S, **fields: object) -> dict[str, Any]:
        """The first frame of this type with these fields, as soon as it has come."""
        return (
            await until(lambda: self.by_type(kind, **fields), timeout, what=f"{kind} {fields}", every=0.005)
        )[0]

    async def is_welcome(self) -> bool:
        """Wait for what becomes of `connect`: `welcome`, or the end."""
        await until(lambda: self.closed is not None or self.by_type("welcome"), what="welcome", every=0.005)
        return bool(self.by_type("welcome"))

    def seqs(self, channel: str) -> list[int]:
        return [frame["seq"] for frame in self.by_type("event", channel=channel)]

    async def opened(self, channel: str) -> int:
        """Wait until the channel is open: by `welcome`, or by `opened` when the directory came later. Gives the head."""

        def head() -> tuple[int] | None:
            welcomed = self.by_type("welcome")[0]["heads"]
            if channel in welcomed:
                return (welcomed[channel],)
            later = self.by_type("opened", channel=channel)
            return (later[0]["head"],) if later else None

        found = await until(head, what=f"{channel} is open", every=0.005)
        assert found is not None
        return found[0]

    async def shown(self, channel: str, seq: int, timeout: float = PATIENCE_S) -> None:
        """Wait until the event with this number has come."""
        await self.frame("event", timeout, channel=channel, seq=seq)

    async def post(self, channel: str, text: str, id: str | None = None, **more: object) -> str:
        """Send and do not wait; gives the id."""
        chosen = id or new_event_id()
        await self.socket.send(
            json.dumps({"type": "send", "channel": channel, "id": chosen, "text": text, **more})
        )
        return chosen

    async def say(
        self, channel: str, text: str, id: str | None = None, patient: bool = True, **more: object
    ) -> dict[str, Any]:
        """Send and wait for the `ack` or the `refused`. `patient`: sends again as long as the answer is `slow_down`."""
        chosen = id or new_event_id()
        frame = {"type": "send", "channel": channel, "id": chosen, "text": text, **more}
        return await self.ask(json.dumps(frame), chosen, patient)

    async def ask(self, message: str, id: str, patient: bool = True) -> dict[str, Any]:
        """The same with a whole message, as it is."""
        while True:
            answer = await self._ask_once(message, id)
            if not patient or answer.get("code") != "slow_down":
                return answer
            await asyncio.sleep(answer["retry_after_ms"] / 1000)

    async def _ask_once(self, message: str, id: str) -> dict[str, Any]:
        before = len(self.frames)
        await self.socket.send(message)

        def answer() -> dict[str, Any] | None:
            answers = (f for f in self.frames[before:] if f["type"] in ("ack", "refused") and f["id"] == id)
            return next(answers, None)

        answered = await until(answer, what=f"an answer to {id}", every=0.002)
        assert answered is not None
        return answered

    async def end(self, timeout: float = PATIENCE_S) -> int:
        """Wait until the server has closed; gives the close code."""
        await asyncio.wait_for(asyncio.shield(self._reader), timeout)
        assert self.closed is not None
        return self.closed

    async def close(self) -> None:
        self.start_reading()
        await self.socket.close()
        await self._reader


class Node:
    """A channel server process of the test's own."""

    def __init__(self, name: str, process: Process, websocket: str, internal: str) -> None:
        self.name = name
        self.process = process
        self.websocket = websocket
        self.internal = internal

    @property
    def port(self) -> int:
        """Where it listens for clients."""
        return int(self.websocket.split(":")[2].split("/")[0])

    async def post(self, body: Mapping[str, object], token: str = SERVICE_TOKEN) -> httpx.Response:
        """POST /internal/v1/events; again as long as the answer is `slow_down`."""
        async with httpx.AsyncClient(base_url=self.internal, timeout=30, trust_env=False) as http:
            while True:
                answer = await http.post(
                    "/internal/v1/events", json=body, headers={"Authorization": f"Bearer {token}"}
                )
                if answer.is_success or answer.json()["code"] != "slow_down":
                    return answer
                await asyncio.sleep(answer.json()["retry_after_ms"] / 1000)

    async def get(self, path: str, token: str = SERVICE_TOKEN) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.internal, timeout=30, trust_env=False) as http:
            return await http.get(path, headers={"Authorization": f"Bearer {token}"})


class Cell:
    def __init__(self, kafka: str, generation: Generation, folder: Path, directory: DirectoryWriter) -> None:
        self.kafka = kafka
        self.generation = generation
        self.folder = folder
        self.directory = directory
        self.key = Ed25519PrivateKey.generate()
        self._clients: list[Client] = []
        self._member_of: dict[str, set[str]] = {}
        self._processes: list[Process] = []
        self.secrets = folder / "secrets"
        self.secrets.mkdir(parents=True)
        (self.secrets / "service_token").write_text(SERVICE_TOKEN)

    # the directory

    async def publish(self, *records: DirectoryRecord) -> None:
        await self.directory.publish(records)
        for record in records:
            if isinstance(record, MemberRecord):
                channels = self._member_of.setdefault(record.user_id, set())
                (channels.add if record.member else channels.discard)(record.channel_id)

    async def publish_key(self) -> None:
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
        await self.publish(KeyRecord(kid="k1", public_key=pem, active=True, version=next(_versions)))

    def user_record(self, person: Person, active: bool = True) -> UserRecord:
        return UserRecord(
            id=person.id, workspace_id=WORKSPACE, name="N", active=active, version=next(_versions)
        )

    async def people(self, number: int) -> list[Person]:
        people = [Person() for _ in range(number)]
        await self.publish(*(self.user_record(person) for person in people))
        return people

    def channel_record(self, channel: str, archived: bool = False) -> ChannelRecord:
        return ChannelRecord(
            id=channel, workspace_id=WORKSPACE, kind="private", archived=archived, version=next(_versions)
        )

    def member_record(self, channel: str, person: Person, member: bool = True) -> MemberRecord:
        return MemberRecord(channel_id=channel, user_id=person.id, member=member, version=next(_versions))

    async def channel(self, *members: Person) -> str:
        channel = new_entity_id("ch")
        await self.publish(self.channel_record(channel), *(self.member_record(channel, p) for p in members))
        return channel

    async def revoke(self, person: Person) -> None:
        until_ms = (int(time.time()) + 3600) * 1000
        await self.publish(
            RevokedRecord(session_id=person.session, until_ms=until_ms, version=next(_versions))
        )

    def next_version(self) -> int:
        return next(_versions)

    # the log

    async def append(self, channel: str, sender: Person, event: Event, id: str | None = None) -> None:
        """Put an event into the log as the relay does, past any node."""

        def ignore(_: Exception) -> None: ...

        async with Appender(
            self.kafka,
            self.generation.events_topic,
            self.generation.partitions,
            max_in_flight=10,
            on_failure=ignore,
        ) as appender:
            header = encode_envelope(channel, sender.id, id or new_event_id(), int(time.time() * 1000))
            await appender.append(channel, header, encode_event(event))

    def partition(self, channel: str) -> int:
        return partition_of(channel, self.generation.partitions)

    # nodes and clients

    def new_nodes(self, *names: str, kafka: str | None = None, **environment: str) -> list[Node]:
        """Nodes that know each other, not started; `environment` without the prefix LOCKSTEP_."""
        ports = free_ports(2 * len(names))
        addresses = [
            {
                "name": name,
                "websocket": f"ws://127.0.0.1:{ports[2 * i]}/v1/websocket",
                "internal": f"http://127.0.0.1:{ports[2 * i + 1]}",
            }
            for i, name in enumerate(names)
        ]
        nodes = []
        for i, (name, address) in enumerate(zip(names, addresses, strict=True)):
            process = Process(
                name,
                [sys.executable, "-m", "channel_server"],
                self.folder / f"{name}.log",
                environment={
                    "LOCKSTEP_NODE_NAME": name,
                    "LOCKSTEP_KAFKA": kafka or self.kafka,
                    "LOCKSTEP_SECRETS_DIR": str(self.secrets),
                    "LOCKSTEP_NODES": json.dumps(addresses),
                    "LOCKSTEP_WEBSOCKET_PORT": str(ports[2 * i]),
                    "LOCKSTEP_INTERNAL_PORT": str(ports[2 * i + 1]),
                    **{f"LOCKSTEP_{setting.upper()}": value for setting, value in environment.items()},
                },
                ready=f"{address['internal']}/health/ready",
            )
            self._processes.append(process)
            nodes.append(Node(name, process, address["websocket"], address["internal"]))
        return nodes

    async def nodes(self, *names: str, **environment: str) -> list[Node]:
        """The same, started and ready."""
        nodes = self.new_nodes(*names, **environment)
        for node in nodes:
            node.process.spawn()
        await asyncio.gather(*(node.process.wait_ready() for node in nodes))
        return nodes

    def token(self, person: Person, lifetime: int = 3600, workspace: str = WORKSPACE) -> str:
        now = int(time.time())
        claims = Claims(person.id, workspace, person.session, now + lifetime)
        return sign_token(self.key, "k1", "realtime", claims, now=now)

    async def open(self, node: Node, person: Person, **options: Any) -> Client:
        """A WebSocket, nothing said yet."""
        patient = {"open_timeout": 60, **options}
        socket = await connect(node.websocket, max_size=None, proxy=None, compression=None, **patient)
        client = Client(socket, person)
        self._clients.append(client)
        return client

    async def connect(
        self,
        node: Node,
        person: Person,
        resume: Mapping[str, int] | None = None,
        epoch: int | None = None,
        **options: Any,
    ) -> Client:
        """Connected and welcomed, and the channels that the person has been put into are open or closed as they are to
        be: the node hears of what is published a moment later."""
        frame: dict[str, Any] = {"type": "connect", "token": self.token(person)}
        if resume is not None:
            frame["resume"] = {"epoch": epoch or self.generation.epoch, "channels": dict(resume)}
        while True:
            client = await self.open(node, person, **options)
            await client.socket.send(json.dumps(frame))
            if await client.is_welcome():
                break
            assert client.closed == CLOSES["not_ready"].code, client.frames
        for channel in self._member_of.get(person.id, ()):
            if channel not in (resume or ()):
                await client.opened(channel)
        return client

    async def close(self) -> None:
        await asyncio.gather(*(client.close() for client in self._clients), return_exceptions=True)
        for process in self._processes:
            await process.destroy()


async def new_generation(kafka: str, **facts: int) -> Generation:
    """An epoch after all others."""
    epoch = max(await generations(kafka), default=0) + 1
    return await create_generation(
        kafka, Generation(epoch=epoch, created_ms=int(time.time() * 1000), **facts)
    )


@contextlib.asynccontextmanager
async def new_cell(kafka: str, folder: Path, **facts: int) -> AsyncIterator[Cell]:
    """An epoch with a signing key in its directory; nodes and clients of it end with the block."""
    generation = await new_generation(kafka, **facts)
    async with DirectoryWriter(kafka, generation) as directory:
        cell = Cell(kafka, generation, folder, directory)
        await cell.publish_key()
        try:
            yield cell
        finally:
            await cell.close()


def dense(seqs: Iterable[int], after: int = 0) -> bool:
    """Whether these are after + 1, after + 2, ..."""
    return all(seq == after + place for place, seq in enumerate(seqs, 1))
