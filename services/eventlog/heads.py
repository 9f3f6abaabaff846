"""The `heads.<epoch>` topic: where a starting node learns each channel's head, up to a watermark.

Partition i belongs to partition i of `events.<epoch>`. Records: key = channel id, value = its head as a decimal;
key = `watermark`, value = the JSON of a `sequencer.Checkpoint`. One transaction holds the changed heads and, last,
the watermark; head records count only once their watermark has come.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Self

from services.contract.generation import Generation
from services.eventlog.sequencer import Checkpoint

Checkpoints = dict[int, tuple[Checkpoint | None, dict[str, int]]]
"""By partition: its newest checkpoint (None: never one) and the heads at that checkpoint."""


async def read_checkpoints(kafka: str, generation: Generation) -> Checkpoints:
    """Read the topic from its beginning to its end, committed transactions only.

    Raises LogLost when the topic is gone, aiokafka's KafkaError when no broker can be reached.
    """
    raise NotImplementedError


class HeadsWriter:
    """Writes checkpoints. There is one at a time in an epoch: entering fences others."""

    def __init__(self, kafka: str, generation: Generation) -> None: ...

    async def __aenter__(self) -> Self:
        raise NotImplementedError

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        raise NotImplementedError

    async def write(self, checkpoints: Mapping[int, tuple[Checkpoint, Mapping[str, int]]]) -> None:
        """Write, in one transaction, each partition's changed heads and its checkpoint.

        Raises Fenced, or WriteFailed (outcome unknown: start again from `read_checkpoints`).
        """
        raise NotImplementedError
