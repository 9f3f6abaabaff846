"""The REST API: post a message, a page of history, a sync; each against a bare FastAPI route that does the same."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import httpx
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from benchmarks.core.agent import Agent, python
from benchmarks.core.bench import Bench
from benchmarks.core.figures import Figure, Latencies
from benchmarks.core.results import Result, Row, Target
from benchmarks.core.usage import cpu_seconds
from benchmarks.core.whole import append_messages, whole
from client import MemoryTokens, RestClient
from tests.stack.crowd import PASSWORD
from tests.stack.lockstep import Stack
from tests.stack.waiting import until

TITLE = "The REST API"

AT_ONCE = 4
CHANNELS = 200
HISTORY = 200
"""Messages in the channel whose newest 50 are read."""


@dataclass(frozen=True)
class Ask:
    name: str
    method: str
    path: str
    content: bytes
    floor: str
    bound: float


@dataclass(frozen=True)
class Sample:
    micros: float
    p50: float
    p99: float


async def run(bench: Bench) -> Result:
    async with whole(bench, "web_app", "node-1", "persister", "relay") as stack:
        async with RestClient(stack.web_url, MemoryTokens()) as rest:
            login = await rest.sign_up(
                workspace_slug="bench", workspace_name="b", name="o", email="o@example.com", password=PASSWORD
            )
            made = [await rest.create_channel(f"room-{n}") for n in range(bench.of(CHANNELS, 10))]
        channel = made[0].channel.id
        await append_messages(stack, HISTORY, channels=[channel], senders=[login.user.id])
        token = login.tokens.access_token
        await history_is_stored(stack, channel, token)
        async with python("benchmarks.floors.rest") as bare:
            port = (await bare.ask(json.dumps(given(stack))))["port"]
            rows = [await compare(bench, stack, bare, port, ask, token) for ask in asks(channel, len(made))]
    return Result(benchmark="rest", title=TITLE, rows=tuple(rows))


def asks(channel: str, channels: int) -> list[Ask]:
    text = json.dumps({"text": "x" * 300}).encode()
    path = f"/v1/channels/{channel}/messages"
    route = "a FastAPI route with the same token check and one "
    return [
        Ask("post a message of 300 bytes", "POST", path, text, route + "httpx hop", 1.5),
        Ask("a page of history, 50 messages", "GET", path, b"", route + "query of the same rows", 2.5),
        Ask(f"sync of {channels} channels", "GET", "/v1/me/sync", b"", route + "query of the same rows", 2.5),
    ]


def given(stack: Stack) -> dict[str, str]:
    """What the floor needs to know of the stack."""
    (private,) = (stack.secrets_dir / "signing_keys").glob("*.pem")
    key = load_pem_private_key(private.read_bytes(), None).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return {
        "key": pem,
        "kid": private.stem,
        "dsn": stack.database.dsn,
        "internal": stack.internal_url(),
        "service_token": stack.service_token,
    }


async def history_is_stored(stack: Stack, channel: str, token: str) -> None:
    headers = {"authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=stack.web_url, headers=headers, trust_env=False) as http:

        async def stored() -> bool:
            page = (await http.get(f"/v1/channels/{channel}/messages")).json()
            return len(page["messages"]) == 50

        await until(stored, 30.0, what="history is stored")


async def compare(bench: Bench, stack: Stack, bare: Agent, port: int, ask: Ask, token: str) -> Row:
    count = bench.of(400, 20)

    async def ours() -> Sample:
        return await requests(stack.processes["web_app"].pid, stack.web_url, ask, token, count)

    async def floor() -> Sample:
        return await requests(bare.pid, f"http://127.0.0.1:{port}", ask, token, count)

    await requests(stack.processes["web_app"].pid, stack.web_url, ask, token, bench.of(100, 10))
    await requests(bare.pid, f"http://127.0.0.1:{port}", ask, token, bench.of(100, 10))
    samples = await bench.interleaved({"ours": ours, "floor": floor})
    cpu = Figure("us CPU/request", tuple(sample.micros for sample in samples["ours"]))
    least = Figure("us CPU/request", tuple(sample.micros for sample in samples["floor"]))
    return Row(
        what=f"REST: {ask.name}",
        against=ask.floor,
        subject=cpu,
        floor=least,
        ratio=cpu.per(least),
        also={
            "p50": Figure("ms", tuple(sample.p50 for sample in samples["ours"])),
            "p50, floor": Figure("ms", tuple(sample.p50 for sample in samples["floor"])),
            "p99": Figure("ms", tuple(sample.p99 for sample in samples["ours"])),
        },
        targets=(Target("ratio", "<=", ask.bound, f"<= {ask.bound}x CPU"),),
    )


async def requests(pid: int, url: str, ask: Ask, token: str, count: int) -> Sample:
    """`count` requests, a few at a time; processor time of the server alone."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    taken: list[float] = []
    left = iter(range(count))
    loop = asyncio.get_running_loop()
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30) as http:

        async def worker() -> None:
            for _ in left:
                began = loop.time()
                answer = await http.request(ask.method, ask.path, content=ask.content)
                taken.append(loop.time() - began)
                if answer.status_code >= 300:
                    raise ValueError(f"{url}{ask.path}: {answer.status_code} {answer.text[:300]}")

        before = cpu_seconds(pid)
        async with asyncio.TaskGroup() as workers:
            for _ in range(AT_ONCE):
                workers.create_task(worker())
        spent = cpu_seconds(pid) - before
    latency = Latencies.of(taken)
    return Sample(spent / count * 1e6, latency.ms(50), latency.ms(99))
