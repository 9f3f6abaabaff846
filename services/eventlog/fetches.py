"""Watching a consumer's fetches: when each was asked, where the log then ended, and every break in the answers.

aiokafka tells when an answer *came*. That is too late for a proof: an answer that was long under way describes the
log as it was when the request was on its way. Hence the requests themselves are watched, at the consumer's one
door to the network.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError
from aiokafka.protocol.fetch import FetchRequest

from services.eventlog import metrics

BREAK_S: Final = 1.5
"""A partition without a good answer for longer than this must be compared again. Idle answers come every 0.25 s."""

_UNREACHED = 64
"""How many ends are remembered that the reader has not come to yet; forgetting one only makes a proof older."""


class FetchWatch:
    """Counts breaks and dates proofs for the partitions of one topic.

    breaks      how many breaks there have been: a failed request, an answer with an error, or a long silence
    """

    def __init__(self, topic: str, partitions: Iterable[int], *, committed_only: bool) -> None:
        self.breaks = 0
        self._topic = topic
        self._committed_only = committed_only
        self._ends: dict[int, deque[tuple[int, float]]] = {p: deque(maxlen=_UNREACHED) for p in partitions}
        self._proofs: dict[int, float] = dict.fromkeys(self._ends, 0.0)
        self._answered: dict[int, float] = {}

    def attach(self, consumer: AIOKafkaConsumer) -> None:
        """Watch this consumer; to be called before it is started."""
        client = consumer._client
        unwatched = client.send

        async def send(node_id: Any, request: Any, **options: Any) -> Any:
            if not isinstance(request, FetchRequest):
                return await unwatched(node_id, request, **options)
            asked = time.monotonic()
            try:
                answer = await unwatched(node_id, request, **options)
            except KafkaError:
                self.broken()
                raise
            self._answer(asked, answer)
            return answer

        client.send = send

    def broken(self) -> None:
        """Note a break."""
        self.breaks += 1
        metrics.BREAKS.labels(self._topic).inc()

    def reached(self, partition: int, position: int) -> None:
        """The reader has come to `position` and the log is known to be the same: date the proof."""
        ends = self._ends[partition]
        while ends and ends[0][0] <= position:
            self._proofs[partition] = ends.popleft()[1]

    def proven(self) -> float:
        """The time of the oldest partition's proof, time.monotonic(); 0.0 when one has none."""
        return min(self._proofs.values(), default=time.monotonic())

    def compared(self) -> None:
        """The last records have just been read again: the silence is over."""
        self._answered = dict.fromkeys(self._ends, time.monotonic())

    def _answer(self, asked: float, answer: Any) -> None:
        now = time.monotonic()
        broken = False
        for topic, partitions in answer.topics:
            for partition, error, highwater, *rest in partitions:
                if topic != self._topic or partition not in self._ends:
                    continue
                if error or now - self._answered.get(partition, now) > BREAK_S:
                    broken = True
                if error:
                    continue
                self._answered[partition] = now
                # rest[0] is the last stable offset in every version (4 and later) that a broker of today speaks
                end = rest[0] if self._committed_only else highwater
                ends = self._ends[partition]
                if ends and ends[-1][0] == end:
                    ends.pop()
                ends.append((end, asked))
        if broken:
            self.broken()
