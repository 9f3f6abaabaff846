"""`make demo`, smaller, on a stack of its own; and the judge on that stack's real sources once they are tampered with."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from client import ApiError
from deploy import control
from deploy.control import Addresses
from deploy.demo import __main__ as command
from deploy.demo.run import Outcome, Plan, play
from deploy.demo.second_act import SCENES, Scene, holds, play_second_act, print_scenes
from deploy.demo.story import Told
from deploy.demo.table import print_outcome
from deploy.demo.waiting import DemoFailed, refused, until
from deploy.local.errors import StackError
from services.contract.envelope import encode_envelope
from services.contract.ids import new_event_id
from tests.stack.lockstep import Stack
from tests.stack.process import Process
from tests.system.conftest import Factory
from verify.judge import Terms, Verdict
from verify.run import Sources, judge

CHEAP_PASSWORDS = {"LOCKSTEP_WEB_PASSWORD_TIME_COST": "1", "LOCKSTEP_WEB_PASSWORD_MEMORY_KIB": "1024"}
pytestmark = pytest.mark.timeout(900)

PLAN = Plan(clients=20, messages=400, talk_s=12.0, trouble_after_s=2.0, away_s=5.0)


class TestStack:
    """`deploy.control.Control` over a test's own stack."""

    kind = "test"
    __test__ = False

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self.acts: list[str] = []

    async def addresses(self) -> Addresses:
        return Addresses(
            web=self._stack.web_url,
            websockets={name: self._stack.websocket_url(name) for name in ("node-1", "node-2")},
            health={},
            kafka=self._stack.kafka.bootstrap,
            dsn=self._stack.database.dsn,
        )

    async def stop(self, *names: str) -> None:
        self.acts += [f"stop {name}" for name in names]
        for name in names:
            await self._process(name).stop()

    async def start(self, *names: str) -> None:
        self.acts += [f"start {name}" for name in names]
        await asyncio.gather(
            *(self._process(name).start(60.0) for name in names if not self._process(name).running)
        )

    async def kill(self, *names: str) -> None:
        self.acts += [f"kill {name}" for name in names]
        for name in names:
            await self._process(name).crash()

    def _process(self, name: str) -> Process:
        return self._stack.postgres.process if name == "postgres" else self._stack.processes[name]


async def judged(stack: Stack, folder: Path) -> Verdict:
    sources = Sources(
        recordings=[folder], database=stack.database.dsn, kafka=stack.kafka.bootstrap, wait_s=1.0
    )
    return await judge(sources, Terms(caught_up=True, all_senders_recorded=True))


async def test_nothing_is_lost_and_whatever_is_tampered_with_is_found(
    new_stack: Factory[Stack], folder: Path
) -> None:
    stack = await new_stack(environment=CHEAP_PASSWORDS)
    recordings = folder / "recordings"
    recordings.mkdir()
    hand, screen = TestStack(stack), io.StringIO()
    outcome = await play(hand, PLAN, recordings, Console(file=screen, width=110))
    print_outcome(outcome, Console(file=screen, width=110))
    assert outcome.good, screen.getvalue()
    assert hand.acts[:3] == ["stop web_app", "stop postgres", "kill node-1"]
    assert outcome.posted == outcome.acked == PLAN.messages
    assert outcome.shown == PLAN.messages * PLAN.clients
    assert outcome.troubled
    for word in (
        "sent",
        "acknowledged",
        "delivered",
        "lost",
        "duplicated",
        "out of order",
        "p50 / p99",
        "killed with -9",
    ):
        assert word in screen.getvalue()
    assert (await judged(stack, recordings)).holds
    await a_text_changed_in_postgresql_is_found(stack, recordings)
    await a_row_deleted_in_postgresql_is_found(stack, recordings)
    await a_copy_in_the_log_changes_nothing_and_a_forged_record_is_found(stack, recordings, outcome)
    await the_second_act_holds_on_what_the_first_one_left(hand)


async def a_text_changed_in_postgresql_is_found(stack: Stack, recordings: Path) -> None:
    connection = await stack.database.connect()
    try:
        row = await connection.fetchrow(
            "select channel_id, seq, body from events where kind = 'message.posted' limit 1"
        )
        where = (row["channel_id"], row["seq"])
        await connection.execute(
            "update events set body = $3 where channel_id = $1 and seq = $2",
            *where, b'{"type":"message.posted","text":"forged"}',
        )  # fmt: skip
        finding = (await judged(stack, recordings)).findings.first["different_event"]
        assert (finding.channel, finding.seq) == where
        assert "PostgreSQL" in " ".join(finding.evidence)
        await connection.execute(
            "update events set body = $3 where channel_id = $1 and seq = $2", *where, row["body"]
        )
        assert (await judged(stack, recordings)).holds
    finally:
        await connection.close()


async def a_row_deleted_in_postgresql_is_found(stack: Stack, recordings: Path) -> None:
    connection = await stack.database.connect()
    try:
        row = await connection.fetchrow(
            "delete from events where (channel_id, seq) = (select channel_id, seq from events"
            " where kind = 'message.posted' limit 1) returning *"
        )
        verdict = await judged(stack, recordings)
        assert verdict.figures.lost == 1
        assert verdict.findings.first["acked_not_in_database"].seq == row["seq"]
        names = ", ".join(row.keys())
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await connection.execute(f"insert into events ({names}) values ({places})", *row.values())
    finally:
        await connection.close()


async def a_copy_in_the_log_changes_nothing_and_a_forged_record_is_found(
    stack: Stack, recordings: Path, outcome: Outcome
) -> None:
    """The persister and both nodes number the forged record too: only the recordings know that nobody sent it."""
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

    before = outcome.verdict.figures.events
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka.bootstrap)
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka.bootstrap, acks="all")
    await consumer.start()
    await producer.start()
    try:
        channel = outcome.verdict.figures.by_channel[-1].channel
        record = None
        for number in range(8):
            partition = TopicPartition("events.1", number)
            consumer.assign([partition])
            await consumer.seek_to_beginning(partition)
            end = (await consumer.end_offsets([partition]))[partition]
            while await consumer.position(partition) < end:
                for one in (await consumer.getmany(partition, timeout_ms=200)).get(partition, []):
                    if (
                        channel.encode() in dict(one.headers).get("lockstep", b"")
                        and b"message.posted" in one.value
                    ):
                        record = one
        assert record is not None
        await producer.send_and_wait(
            "events.1", record.value, partition=record.partition, headers=list(record.headers)
        )
        verdict = await judged(stack, recordings)
        assert verdict.holds
        assert verdict.figures.events == before
        _, channel, sender, _, stamped = dict(record.headers)["lockstep"].decode().split(" ")
        forged = encode_envelope(channel, sender, new_event_id(int(stamped)), int(stamped))
        value = b'{"type":"message.posted","text":"never said"}'
        await producer.send_and_wait("events.1", value, partition=record.partition, headers=[forged])
        assert "never_sent" in (await judged(stack, recordings)).findings.first
    finally:
        await consumer.stop()
        await producer.stop()


async def the_second_act_holds_on_what_the_first_one_left(hand: TestStack) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=130)
    scenes = await play_second_act(await hand.addresses(), console)
    print_scenes(scenes, console)
    assert holds(scenes), screen.getvalue()
    assert sum(scene.seconds for scene in scenes) < 100.0, screen.getvalue()
    assert all(title in screen.getvalue() for title, _ in SCENES)


def test_a_scene_that_does_not_hold_is_told_loudly() -> None:
    good = [Scene(title, Told("it happened", "everybody"), "", 0.1) for title, _ in SCENES]
    bad = [*good[:-1], Scene("signing out", None, "the phone is still connected within 10 s", 10.0)]
    screen = io.StringIO()
    print_scenes(bad, Console(file=screen, width=130))
    assert holds(good)
    assert not holds(bad)
    assert not holds(good[:-1]), "a scene was left out"
    assert "FAILED" in screen.getvalue()
    assert "the phone is still connected" in screen.getvalue()


async def test_what_does_not_hold_ends_a_wait_and_a_call_that_should_be_refused() -> None:
    with pytest.raises(DemoFailed, match=r"it did not come within 0\.01 s"):
        await until(lambda: False, "it did not come", 0.01)

    async def taken() -> None:
        pass

    async def forbidden() -> None:
        raise ApiError("forbidden", 403, "no")

    with pytest.raises(DemoFailed, match="was not refused"):
        await refused(taken(), "forbidden")
    with pytest.raises(DemoFailed, match="instead of not_found"):
        await refused(forbidden(), "not_found")
    await refused(forbidden(), "forbidden")


def test_without_a_stack_one_sentence_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def none() -> None:
        raise StackError("no stack is running here: `make up` starts one.")

    monkeypatch.setattr(control, "current", none)
    assert command.main(["--keep", str(tmp_path / "kept")]) == 2
    assert "make up" in capsys.readouterr().out
    assert not (tmp_path / "kept").exists()
