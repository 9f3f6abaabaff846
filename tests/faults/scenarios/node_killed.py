"""Channel servers are killed -9, at every moment there is; and one is frozen while sends are under way."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from picows import WSError

from client import Recorder
from services.contract import frames
from services.eventlog.epoch import current_generation
from tests.faults.lab import Lab, scenario
from tests.faults.load import Load
from tests.faults.moments import DURING_START, STAGES, Kill, classify, visits
from tests.faults.outcome import Outcome
from tests.faults.swarm import Swarm, Viewer, swarm
from tests.stack.lockstep import Stack
from tests.stack.rawlog import whole_log
from tests.stack.waiting import until


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


class _Killer:
    """Kills nodes of one stack and starts them again; remembers when."""

    def __init__(
        self, lab: Lab, stack: Stack, load: Load, stragglers: Sequence[Viewer], gallery: Swarm
    ) -> None:
        self.lab = lab
        self.stack = stack
        self.load = load
        self.stragglers = stragglers
        self.gallery = gallery
        self.kills: list[Kill] = []
        self.recovery: list[float] = []

    async def kill(self, *names: str) -> Kill:
        for name in names:
            self.stack.processes[name].kill()
        kill = Kill(frozenset(self.stack.websocket_url(name) for name in names), _now_ms())
        self.kills.append(kill)
        for name in names:
            await self.stack.processes[name].destroy()
        return kill

    def _other(self, name: str) -> str:
        return "node-2" if name == "node-1" else "node-1"

    def _at(self, name: str) -> int:
        """How many clients are connected there."""
        url = self.stack.websocket_url(name)
        return sum(
            person.client.state.name == "connected" and person.node == url
            for person in self.load.crowd.people
        )

    async def one(self) -> None:
        """Any moment of a node that serves; its clients go to the other one."""
        name = self.lab.rng.choice(("node-1", "node-2"))
        await until(lambda: self._at(name) or self._at(self._other(name)))
        if not self._at(name):
            name = self._other(name)
        await asyncio.sleep(self.lab.rng.uniform(0.0, 0.15))
        await self.kill(name)
        await self.stack.start(name)

    async def while_catching_up(self) -> None:
        """Kill a node that has just begun to bring somebody up to date."""

        def served() -> str | None:
            late = [viewer for viewer in self.stragglers if viewer.connected and not viewer.caught_up]
            return late[0].node if late else None

        node = await until(served, every=0.002, what="somebody is being caught up")
        await asyncio.sleep(self.lab.rng.uniform(0.0, 0.01))
        name = "node-1" if node == self.stack.websocket_url("node-1") else "node-2"
        await self.kill(name)
        await self.stack.start(name)

    async def while_fanning_out(self) -> None:
        """Kill a node at the moment when the first of its many viewers is shown something."""
        shown = asyncio.get_running_loop().create_future()

        def notice(viewer: Viewer, _: frames.EventFrame) -> None:
            if not shown.done():
                shown.set_result(viewer.node)

        connected = await until(lambda: [each for each in self.gallery.viewers if each.connected])
        viewer = self.lab.rng.choice(connected)
        viewer.on_event = notice
        node = await asyncio.wait_for(shown, 60.0)
        viewer.on_event = None
        name = "node-1" if node == self.stack.websocket_url("node-1") else "node-2"
        await self.kill(name)
        await self.stack.start(name)

    async def while_starting(self) -> None:
        """Kill a node, start it, and kill it again before it is ready."""
        name = self.lab.rng.choice(("node-1", "node-2"))
        await self.kill(name)
        process = self.stack.processes[name]
        process.spawn()
        await asyncio.sleep(self.lab.rng.uniform(0.05, 1.2))
        if not await process.answers_ready():
            kill = await self.kill(name)
            kill.stages.add(DURING_START)
            process.spawn()
        await process.wait_ready(60.0)

    async def both(self) -> None:
        """Everything is gone at once."""
        await asyncio.sleep(self.lab.rng.uniform(0.0, 0.15))
        await self.kill("node-1", "node-2")
        await self.stack.start("node-1", "node-2")


async def _straggle(
    viewer: Viewer,
    nodes: Sequence[str],
    rng: random.Random,
    stop: asyncio.Event,
    complete: Callable[[], bool],
) -> None:
    """Be away for seconds, come back, read slowly until all is caught up, leave without a word; after `stop` stay
    until all is `complete`."""
    while not (stop.is_set() and viewer.connected and complete()):
        try:
            await viewer.connect(rng.choice(nodes))
            while viewer.connected and not viewer.caught_up:
                viewer.read(False)
                await asyncio.sleep(0.02)
                viewer.read(True)
                await asyncio.sleep(0.002)
            if stop.is_set() and viewer.connected:
                await until(lambda: complete() or not viewer.connected, what=f"{viewer.name} has all")
                continue
        except (OSError, TimeoutError, WSError):
            pass  # that node is dead just now
        viewer.drop()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), rng.uniform(1.0, 3.0))


def _has_seen(viewer: Viewer, load: Load) -> bool:
    return all(viewer.cursors.get(channel, 0) >= head for channel, head in load.crowd.heads().items())


@contextlib.asynccontextmanager
async def _stragglers(lab: Lab, stack: Stack, load: Load, count: int) -> AsyncIterator[list[Viewer]]:
    """Recorded viewers that are away more often than not; at the end each has been shown everything."""
    stop = asyncio.Event()
    viewers: list[Viewer] = []
    nodes = [stack.websocket_url("node-1"), stack.websocket_url("node-2")]
    with contextlib.ExitStack() as recorders:
        for number in range(count):
            name = f"straggler-{number}"
            recorder = recorders.enter_context(Recorder(load.crowd.folder / f"{name}.jsonl", name))
            token = (await load.crowd.people[number % len(load.crowd.people)].rest.realtime()).token
            viewer = Viewer(name, token, recorder=recorder, receive_buffer=4096)
            recorders.callback(viewer.drop)
            viewers.append(viewer)
        async with asyncio.TaskGroup() as group:
            for viewer in viewers:
                rng = random.Random(lab.rng.random())
                group.create_task(_straggle(viewer, nodes, rng, stop, partial(_has_seen, viewer, load)))
            try:
                yield viewers
                await load.hush()
            finally:
                stop.set()
        for viewer in viewers:
            viewer.leave()
            assert not viewer.wrong, viewer.wrong[:3]


@scenario(
    "node-killed",
    "channel servers killed -9 at 100 moments: any, while catching up, while starting, both at once",
    brief=True,
    limit_s=1500.0,
)
async def node_killed(lab: Lab) -> Outcome:
    stack = await lab.stack(environment={"LOCKSTEP_CONNECTIONS_PER_USER": "1000"})
    goal = lab.times(100, 6)
    outcome = Outcome("")
    nodes = [stack.websocket_url("node-1"), stack.websocket_url("node-2")]
    async with lab.load(stack, people=10, channels=3, pause=(0.02, 0.1), alone=True) as load:
        gallery = await lab.own(swarm(nodes, random.Random(lab.rng.random())))
        tokens = [(await person.rest.realtime()).token for person in load.crowd.people]
        await gallery.enter(tokens, lab.times(200, 60))
        async with _stragglers(lab, stack, load, 4) as stragglers:
            killer = _Killer(lab, stack, load, stragglers, gallery)
            ways = [
                killer.one,
                killer.while_catching_up,
                killer.while_fanning_out,
                killer.while_starting,
                killer.while_fanning_out,
                killer.both,
            ]
            await load.acked(50)
            with load.during("killing"):
                while len(killer.kills) < goal:
                    await ways[len(outcome.recovery_s) % len(ways)]()
                    outcome.recovery_s.append(await load.served_again())
        await load.judged(outcome, messages=200)
        await gallery.caught_up(load.crowd.heads())
        assert not gallery.wrong(), gallery.wrong()[:3]
        hits = classify(
            killer.kills,
            [visit for recording in load.crowd.folder.iterdir() for visit in visits(recording)],
            [stay for viewer in gallery.viewers for stay in viewer.stays],
            await whole_log(stack.kafka.bootstrap, await current_generation(stack.kafka.bootstrap)),
            time.time_ns() // 1_000_000 - _now_ms(),
        )
    outcome.did = f"{len(killer.kills)} kills"
    outcome.facts = {f"hit {stage}": hits[stage] for stage in STAGES}
    missed = [stage for stage in STAGES if not hits[stage]]
    assert lab.brief or not missed, f"no kill hit: {missed}; {dict(hits)}"
    return outcome


@scenario(
    "node-frozen",
    "a channel server stopped for 20 s (SIGSTOP) with sends in flight, then let go on",
    limit_s=300.0,
)
async def node_frozen(lab: Lab) -> Outcome:
    """Its clients leave it and send again elsewhere, under the same ids; its own late copies must get no number."""
    stack = await lab.stack()
    async with lab.load(stack, people=12, channels=3, pause=(0.0, 0.01), alone=True) as load:
        outcome = Outcome("")
        freezes = lab.times(3, 1)
        for number in range(freezes):
            name = ("node-1", "node-2")[number % 2]
            await load.acked(100)
            with load.during("frozen"):
                process = stack.processes[name]
                process.freeze()
                await asyncio.sleep(20.0)
                process.thaw()
                outcome.recovery_s.append(await load.served_again())
        await load.judged(outcome, messages=500)
        verdict = await load.crowd.verdict()
        assert verdict.figures.log is not None
        outcome.did = f"{freezes} freezes of 20 s"
        late = verdict.figures.log.duplicates + verdict.figures.log.expired
        outcome.facts["late copies without a number"] = late
        assert lab.brief or late, "no freeze made a late copy: nothing was shown about them"
        return outcome
