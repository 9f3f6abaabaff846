"""The disk of Kafka or of PostgreSQL is full: refused clearly, and after there is room again nothing is missing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import httpx

from deploy.local import secrets
from services.runtime.process import EXIT_FATAL
from tests.faults.disks import SmallDisk, small_disk
from tests.faults.lab import Lab, scenario
from tests.faults.load import Load
from tests.faults.outcome import Outcome
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.stack.servers import postgres_server
from tests.stack.waiting import until

_FULL_S = 15.0
_TRIES = 50


async def _supervised(processes: Sequence[Process], starts: list[str]) -> None:
    """As a supervisor: whatever has ended is started again, until this is cancelled."""
    while True:
        for process in processes:
            if not process.running:
                assert process.returncode != EXIT_FATAL, (
                    f"{process.name} asks for an operator:\n{process.tail()}"
                )
                process.spawn()
                starts.append(process.name)
        await asyncio.sleep(2.0)


async def _full(
    lab: Lab,
    stack: Stack,
    load: Load,
    disk: SmallDisk,
    server: Process,
    outcome: Outcome,
    leave: int,
    refused: str,
) -> None:
    """Fill the disk but for `leave` bytes, let people talk until it hurts and longer, make room again. `refused`: the method
    of web_app's that cannot go on."""
    starts: list[str] = []
    everybody = [server, *stack.processes.values()]
    supervising = asyncio.create_task(_supervised(everybody, starts))
    try:
        with load.during("disk full"):
            disk.fill(leave)
            before = len(load.waits)
            await until(
                lambda: server.name in starts or b"No space left" in server.log.read_bytes(),
                120.0,
                what="the disk is full",
                every=0.2,
            )
            await asyncio.sleep(_FULL_S)
            outcome.facts["acknowledged while it was filling and full"] = len(load.waits) - before
            await _refused_clearly(stack, load, refused)
            disk.free()
            await until(server.answers_ready, 90.0, what=f"{server.name} is back", every=0.2)
            outcome.recovery_s.append(await load.served_again())
    finally:
        supervising.cancel()
        await asyncio.wait({supervising})
    if not supervising.cancelled():
        supervising.result()
    outcome.facts["started again by the supervisor"] = {
        name: starts.count(name) for name in sorted(set(starts))
    }


async def _refused_clearly(stack: Stack, load: Load, refused: str) -> None:
    """What web_app says while it lasts: a status and a code that tell to come back, or that all is well; no 500.

    `refused`: the method that needs the full disk. It may find a little room now and then, but not for long.
    """
    token = load.crowd.owner.rest.tokens.load()
    assert token is not None
    channel = load.crowd.channels[0]
    statuses: dict[str, list[int]] = {"POST": [], "PATCH": [], "GET": []}
    async with httpx.AsyncClient(
        base_url=stack.web_url, timeout=60.0, headers={"Authorization": f"Bearer {token.access_token}"}
    ) as http:
        for number in range(_TRIES):
            answers = [
                await http.post(f"/v1/channels/{channel}/messages", json={"text": "is there room?"}),
                await http.patch(f"/v1/channels/{channel}", json={"topic": f"{number}".ljust(200, "x")}),
                await http.get(f"/v1/channels/{channel}/events", params={"limit": 1}),
            ]
            for answer in answers:
                assert answer.status_code in (200, 201, 429, 503), (answer.status_code, answer.text)
                if answer.status_code >= 400:
                    assert answer.json()["code"] in (
                        "log_unavailable", "no_channel_server", "database_unavailable", "not_yet", "slow_down",
                        "draining",
                    ), answer.text  # fmt: skip
                statuses[answer.request.method].append(answer.status_code)
            if statuses[refused][-1] >= 400:
                return
    raise AssertionError(f"the disk is full, and {refused} goes on: {statuses}")


@scenario(
    "disk-full-kafka",
    "Kafka's disk is full for a while, and the broker is started again by its supervisor until there is room",
    limit_s=300.0,
)
async def disk_full_kafka(lab: Lab) -> Outcome:
    disk = await lab.own(small_disk(lab.place("disk"), 96))
    kafka = await lab.broker(_folder(disk, "kafka"))
    stack = await lab.stack(kafka=kafka)
    outcome = Outcome("Kafka's disk filled under load, freed after it was full for 15 s")
    async with lab.load(stack, people=10, channels=3, pause=(0.0, 0.02)) as load:
        await load.acked(100)
        await _full(lab, stack, load, disk, kafka.process, outcome, leave=256 * 1024, refused="POST")
        await load.judged(outcome, messages=200)
    return outcome


@scenario(
    "disk-full-postgres",
    "PostgreSQL's disk is full for a while, and the server is started again by its supervisor until there is room",
    limit_s=300.0,
)
async def disk_full_postgres(lab: Lab) -> Outcome:
    """People go on talking: the log keeps what cannot be stored."""
    disk = await lab.own(small_disk(lab.place("disk"), 256))
    folder = _folder(disk, "postgres")
    made = lab.place("password")
    secrets.make(made)
    postgres = await lab.own(postgres_server(folder, secrets.read(made, "database_password")))
    stack = await lab.stack(postgres=postgres)
    outcome = Outcome("PostgreSQL's disk filled under load, freed after it was full for 15 s")
    async with lab.load(stack, people=10, channels=3, pause=(0.0, 0.02)) as load:
        await load.acked(100)
        await _full(lab, stack, load, disk, postgres.process, outcome, leave=512 * 1024, refused="PATCH")
        await load.judged(outcome, messages=200)
    return outcome


def _folder(disk: SmallDisk, name: str) -> Path:
    folder = disk.folder / name
    folder.mkdir()
    return folder
