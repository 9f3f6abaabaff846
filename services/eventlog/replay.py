"""The start of a node: heads from the newest checkpoints, then the log from where their dedupe windows begin."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from services.contract.generation import Generation
from services.eventlog.sequencer import Sequencer
from services.eventlog.tail import Tail


class Replay:
    """Everything a folding node needs; works with PostgreSQL and web_app away.

        async with Replay(kafka, generation) as replay:
            while True:
                for partition, records in (await replay.tail.batch(500)).items():
                    sequencer = replay.sequencers[partition]
                    for record in records:
                        if record.envelope is None:
                            continue
                        verdict = sequencer.apply(record.offset, record.appended, record.envelope, record.digest)
                        if record.offset < replay.watermarks[partition]:
                            continue    # it only refilled the dedupe window

    The node is caught up once `replay.tail.proven_current()` is not 0.0.

    sequencers      partition -> its fold; `sequencers[p].heads` are the heads at the watermark
    watermarks      partition -> records below only refill the window
    tail            positioned at the windows' starts

    `async with` raises LogLost when the log does not reach back to a window's start, or is not the log that the
    checkpoint was made of; aiokafka's KafkaError when no broker can be reached.
    """

    sequencers: dict[int, Sequencer]
    watermarks: dict[int, int]
    tail: Tail

    def __init__(self, kafka: str, generation: Generation) -> None: ...

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError
