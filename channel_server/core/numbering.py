"""The node's own fold of all partitions: what every number, head and verdict on this node comes from."""

from __future__ import annotations

from collections.abc import Mapping

from services.contract.envelope import partition_of
from services.eventlog.sequencer import Sequencer


class Numbering:
    """Partition -> fold, asked by channel."""

    def __init__(self, sequencers: Mapping[int, Sequencer]) -> None:
        self.sequencers = sequencers
        self._partitions = len(sequencers)

    def of(self, channel: str) -> Sequencer:
        return self.sequencers[self.partition_of(channel)]

    def partition_of(self, channel: str) -> int:
        return partition_of(channel, self._partitions)

    def head(self, channel: str) -> int:
        """The last number given in the channel; 0 when there is none."""
        return self.of(channel).heads.get(channel, 0)
