"""Late and wrong clients: ids of a wrong clock, retries when it is too late, one id in two places, 100,000 copies."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Collection
from typing import Final

import msgspec
from aiokafka import AIOKafkaProducer

from client import Ack, ApiError
from services.contract import frames
from services.contract.envelope import decode_envelope, encode_envelope, partition_of
from services.contract.events import MessagePosted, encode_event
from services.contract.generation import Generation
from services.contract.ids import new_event_id
from services.eventlog.epoch import current_generation
from tests.faults.lab import SHORT_WINDOWS, Lab, scenario
from tests.faults.load import Load
from tests.faults.outcome import Outcome
from tests.faults.speaker import Speaker
from tests.stack.lockstep import Stack
from tests.stack.rawlog import wall_ms, whole_log
from tests.stack.waiting import until

_HOUR_MS: Final = 3_600_000
_COPIES_AT_ONCE: Final = 100


class _Bench:
    """Two bare connections of one person, one to each node, beside a crowd that talks."""

    def __init__(self, stack: Stack, generation: Generation, load: Load, speakers: tuple[Speaker, Speaker]):
        self.stack = stack
        self.generation = generation
        self.load = load
        self.speakers = speakers
        self.person = load.crowd.people[-1]
        self.channel = load.crowd.channels[0]
        self._known: set[str] = set()

    def acked(self, answer: frames.Ack | frames.Refused) -> frames.Ack:
        """The answer must be an acknowledgement; it is remembered among the crowd's."""
        assert isinstance(answer, frames.Ack), answer
        if answer.id not in self._known:
            self._known.add(answer.id)
            self.load.crowd.acks.append(
                Ack(
                    epoch=self.generation.epoch, channel=answer.channel, id=answer.id, seq=answer.seq,
                    at=answer.at, duplicate=False,
                )
            )  # fmt: skip
        return answer

    async def stored(self, ids: Collection[str]) -> Counter[str]:
        """How often PostgreSQL has each of these ids, when it has everything that was acknowledged."""
        heads = self.load.crowd.heads()
        connection = await self.stack.database.connect()
        try:

            async def there() -> bool:
                found = dict(await connection.fetch("select channel_id, head from channel_heads"))
                return all(found.get(channel, 0) >= head for channel, head in heads.items())

            await until(there, what="PostgreSQL has what was acknowledged")
            rows = await connection.fetch(
                "select event_id::text as id, count(*) as times from events"
                " where event_id = any($1::uuid[]) group by event_id",
                list(ids),
            )
        finally:
            await connection.close()
        return Counter({row["id"]: row["times"] for row in rows})

    async def in_log(self, ids: Collection[str]) -> Counter[str]:
        """How many copies of each of these ids the log has."""
        wanted = set(ids)
        log = await whole_log(self.stack.kafka.bootstrap, self.generation)
        return Counter(id for entry in log if (id := decode_envelope(entry.headers).id) in wanted)


@contextlib.asynccontextmanager
async def _bench(stack: Stack, load: Load) -> AsyncIterator[_Bench]:
    generation = await current_generation(stack.kafka.bootstrap)
    token = (await load.crowd.people[-1].rest.realtime()).token
    speakers = (Speaker(token), Speaker(token))
    try:
        for speaker, node in zip(speakers, ("node-1", "node-2"), strict=True):
            await speaker.connect(stack.websocket_url(node))
        keeping = asyncio.create_task(_heartbeats(speakers))
        try:
            yield _Bench(stack, generation, load, speakers)
        finally:
            keeping.cancel()
            await asyncio.wait({keeping})
    finally:
        for speaker in speakers:
            speaker.drop()


def _refused(answer: frames.Ack | frames.Refused, code: str) -> frames.Refused:
    """The answer must be a refusal with this code."""
    assert isinstance(answer, frames.Refused), answer
    assert answer.code == code, answer
    return answer


async def _heartbeats(speakers: Collection[Speaker]) -> None:
    while True:
        for speaker in speakers:
            speaker.heartbeat(time.monotonic())
        await asyncio.sleep(1.0)


async def _an_hour_wrong(bench: _Bench, count: int) -> int:
    """Ids of a clock an hour late or early: refused, saying what the log's clock is; nothing of them is stored."""
    ids = []
    for speaker in bench.speakers:
        for number in range(count):
            late, early = new_event_id(wall_ms() - _HOUR_MS), new_event_id(wall_ms() + _HOUR_MS)
            ids += [late, early]
            answer = await speaker.ask(bench.channel, late, f"an hour late {number}")
            refusal = _refused(answer, "expired")
            assert refusal.head is not None
            assert refusal.now is not None
            assert abs(refusal.now - wall_ms()) < 60_000
            answer = await speaker.ask(bench.channel, early, f"an hour early {number}")
            refusal = _refused(answer, "future")
            assert refusal.now is not None
            assert abs(refusal.now - wall_ms()) < 60_000
    # Ahead by less than an hour: refused for now, and taken under the same id when its time has come.
    soon = new_event_id(wall_ms() + 2 * bench.generation.future_ms)
    answer = await bench.speakers[0].ask(bench.channel, soon, "a little early")
    _refused(answer, "future")
    while not isinstance(answer, frames.Ack):
        _refused(answer, "future")
        await asyncio.sleep(0.5)
        answer = await bench.speakers[0].ask(bench.channel, soon, "a little early")
    bench.acked(answer)
    assert await bench.stored([*ids, soon]) == {soon: 1}
    return len(ids)


async def _wrong_nodes(bench: _Bench, count: int) -> None:
    """Records of nodes whose clocks are an hour wrong: numbered as others are, and the log's clock does not follow."""
    ids = []
    producer = AIOKafkaProducer(bootstrap_servers=bench.stack.kafka.bootstrap, acks="all")
    await producer.start()
    try:
        for number in range(count):
            for wrong in (-_HOUR_MS, _HOUR_MS):
                id = new_event_id()
                ids.append(id)
                await producer.send_and_wait(
                    bench.generation.events_topic,
                    encode_event(MessagePosted(text=f"from a node {wrong} ms wrong, {number}")),
                    key=bench.channel.encode(),
                    partition=partition_of(bench.channel, bench.generation.partitions),
                    headers=[encode_envelope(bench.channel, bench.person.user_id, id, wall_ms() + wrong)],
                )
    finally:
        await producer.stop()
    for id in ids:
        answer = await bench.speakers[0].ask(bench.channel, id, "whatever")
        _refused(answer, "id_reused")
    bench.acked(await bench.speakers[0].ask(bench.channel, new_event_id(), "after the wrong nodes"))
    assert await bench.stored(ids) == dict.fromkeys(ids, 1)


async def _both_nodes_at_once(bench: _Bench, count: int) -> int:
    """The same id at both nodes at the same moment: both say the same number, and it is stored once."""
    ids = [new_event_id() for _ in range(count)]
    for number, id in enumerate(ids):
        text = f"said twice {number}"
        one, two = await asyncio.gather(*(speaker.say(bench.channel, id, text) for speaker in bench.speakers))
        assert isinstance(one, frames.Ack), one
        assert isinstance(two, frames.Ack), two
        # Each node's own copy may be the one behind: both say the number of the first.
        assert (two.id, two.seq, two.at) == (id, bench.acked(one).seq, one.at), (one, two)
    assert await bench.in_log(ids) == dict.fromkeys(ids, 2)
    assert await bench.stored(ids) == dict.fromkeys(ids, 1)
    return count


async def _copies(bench: _Bench, lab: Lab, count: int) -> dict[str, object]:
    """So many copies of a hundred messages: each is answered with the number of the first."""
    texts: dict[str, str] = {}
    first: dict[str, int] = {}
    memory = {name: _resident_kib(bench.stack, name) for name in ("node-1", "node-2", "persister")}
    begun = time.monotonic()
    copies = sent = 0
    refused: Counter[str] = Counter()
    while copies < count:
        # In portions, each within the time for which a copy is a duplicate rather than expired.
        portion = min(count - copies, 5_000) + 2
        texts = {new_event_id(): f"again and again, from {sent} on, {number}" for number in range(100)}
        answers = await asyncio.gather(
            *(bench.speakers[0].ask(bench.channel, id, text) for id, text in texts.items())
        )
        first |= {id: bench.acked(answer).seq for id, answer in zip(texts, answers, strict=True)}
        ids = list(texts)
        half = [[lab.rng.choice(ids) for _ in range(portion // 2)] for _ in bench.speakers]
        halves = await asyncio.gather(
            *(
                speaker.say_all(((bench.channel, id, texts[id]) for id in some), at_once=_COPIES_AT_ONCE)
                for speaker, some in zip(bench.speakers, half, strict=True)
            )
        )
        for some, answered in zip(half, halves, strict=True):
            for id, answer in zip(some, answered, strict=True):
                if isinstance(answer, frames.Refused):
                    assert answer.code in ("expired", "slow_down"), answer  # this machine was slow
                    refused[answer.code] += 1
                    continue
                copies += 1
                # A copy that waits at a node when the first one passes there is answered as that one.
                assert answer.seq == first[id]
        sent += portion // 2 * 2
        assert sent <= 3 * count + 1_000, f"of {sent} copies only {copies} were taken in time"
    seconds = time.monotonic() - begun
    grown = {name: _resident_kib(bench.stack, name) - before for name, before in memory.items()}
    assert await bench.stored(first) == dict.fromkeys(first, 1)
    # Nothing is kept of a copy: the window holds ids once, and the ring what is shown. Remembered, they would be 27 MiB.
    assert all(kib < 24 * 1024 for kib in grown.values()), f"memory grew by {grown} KiB"
    return {
        "copies sent": sent,
        "answered with the first one's number": copies,
        "refused": dict(refused),
        "copies a second": round(sent / seconds),
        "memory grown, KiB": grown,
    }


def _resident_kib(stack: Stack, name: str) -> int:
    for line in open(f"/proc/{stack.processes[name].pid}/status", encoding="ascii"):  # noqa: SIM115
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


async def _reinstalled(bench: _Bench, count: int) -> int:
    """A client that begins with the same ids again and has other things to say: it is told, and nothing is changed."""
    texts: dict[str, str] = {}
    one, two = bench.speakers
    for number in range(count):
        id, text = new_event_id(), f"before the reinstall {number}"
        texts[id] = text
        bench.acked(await one.ask(bench.channel, id, text))
        for speaker in (one, two):
            _refused(await speaker.ask(bench.channel, id, "something else"), "id_reused")
        assert await _over_rest(bench, id, "something else") == "id_reused"
    assert await bench.stored(texts) == dict.fromkeys(texts, 1)
    await _until_expired(bench, list(texts)[-1])
    heads = set()
    for id in texts:
        for text in (texts[id], "something else"):  # a retry that comes too late, and another text
            answer = await two.ask(bench.channel, id, text)
            heads.add(_refused(answer, "expired").head or 0)
    assert await bench.stored(texts) == dict.fromkeys(texts, 1)
    page = await bench.person.rest.messages(bench.channel, before=max(heads) + 1, limit=200)
    seen = {message.id: message.text for message in page.messages}
    assert all(seen[id] == text for id, text in texts.items() if id in seen), "a text was replaced"
    return count


async def _over_rest(bench: _Bench, id: str, text: str) -> str:
    """The code with which REST refuses this; empty when it takes it."""
    try:
        await bench.person.rest.post_message(bench.channel, text, client_msg_id=id)
    except ApiError as error:
        return error.code
    return ""


async def _until_expired(bench: _Bench, id: str) -> None:
    """Wait until the log's clock (it goes on with what others say) is past the id's expiry."""

    async def expired() -> bool:
        answer = await bench.speakers[0].ask(bench.channel, id, "is it time?")
        return isinstance(answer, frames.Refused) and answer.code == "expired"

    await until(expired, bench.generation.retry_ms / 1000 + 30.0, every=0.5)


@scenario(
    "late-and-wrong",
    "ids an hour wrong, one id at both nodes at once, 100,000 copies, the ids of before a reinstall, expired retries",
    limit_s=420.0,
)
async def late_and_wrong(lab: Lab) -> Outcome:
    fast = {"LOCKSTEP_CONNECTION_RATE": "100000", "LOCKSTEP_USER_RATE": "100000"}
    patient = {"LOCKSTEP_RETRY_MS": "12000"}  # a busy machine may take seconds over a hundred sends
    stack = await lab.stack(environment={**SHORT_WINDOWS, **fast, **patient})
    outcome = Outcome("")
    async with lab.load(stack, people=5, channels=2, pause=(0.05, 0.2)) as load, _bench(stack, load) as bench:
        await load.acked(20)
        wrong = await _an_hour_wrong(bench, lab.times(50, 5))
        await _wrong_nodes(bench, lab.times(20, 3))
        twice = await _both_nodes_at_once(bench, lab.times(200, 20))
        reused = await _reinstalled(bench, lab.times(50, 5))
        with load.during("copies"):
            outcome.facts = await _copies(bench, lab, lab.times(100_000, 1_000))
        await load.judged(outcome, messages=50)
    outcome.did = f"{wrong} ids an hour wrong; {twice} ids at both nodes at once; {reused} ids used again"
    return outcome


@scenario(
    "late-real-windows",
    "both nodes away for 121 s with sends in flight, in an epoch with the real windows: expired, looked up, reborn",
    limit_s=420.0,
)
async def late_real_windows(lab: Lab) -> Outcome:
    """Every send that was in flight is retried when its id has expired; each text is there once at the end."""
    stack = await lab.stack()
    outcome = Outcome("both nodes killed -9 with sends in flight, started again after 121 s")
    nodes = ("node-1", "node-2")
    async with lab.load(stack, people=16, channels=3, pause=(0.0, 0.01)) as load:
        await load.acked(200)
        async with _bench(stack, load) as bench:
            assert (bench.generation.retry_ms, bench.generation.future_ms) == (120_000, 60_000)
            said, unsaid = new_event_id(), new_event_id()
            bench.acked(await bench.speakers[0].ask(bench.channel, said, "in time"))
        for name in nodes:
            stack.processes[name].kill()
        with load.during("nodes away"):
            for name in nodes:
                await stack.processes[name].destroy()
            await asyncio.sleep(121.0)
            await stack.start(*nodes)
            outcome.recovery_s.append(await load.served_again())
        async with _bench(stack, load) as bench:
            for id, text in ((said, "in time"), (unsaid, "never sent before")):
                answer = await bench.speakers[1].ask(bench.channel, id, text)
                _refused(answer, "expired")
            assert await bench.stored([said, unsaid]) == {said: 1}
        await load.judged(outcome, messages=300)
        told = Counter[str]()
        for recording in load.crowd.folder.iterdir():
            for line in recording.read_bytes().splitlines():
                entry = msgspec.json.decode(line)
                told[entry["code"] if entry["kind"] == "refused" else entry["kind"]] += 1
    assert told["expired"], "no send was in flight when the nodes died"
    outcome.facts = {"ids expired": told["expired"], "texts under a new id": told["rebirth"]}
    return outcome
