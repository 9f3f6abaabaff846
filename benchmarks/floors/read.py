"""Bare aiokafka: read topics from their beginnings to their ends, and nothing else.

`python -m benchmarks.floors.read KAFKA TOPIC:PARTITIONS ...` prints {"seconds": S, "cpu": S, "records": N}.
"""

from __future__ import annotations

import json
import sys
import time

import uvloop
from aiokafka import AIOKafkaConsumer, TopicPartition


async def read(kafka: str, topics: list[str]) -> int:
    consumer = AIOKafkaConsumer(
        bootstrap_servers=kafka, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
    )
    await consumer.start()
    try:
        places = [
            TopicPartition(name, partition)
            for name, _, partitions in (topic.partition(":") for topic in topics)
            for partition in range(int(partitions))
        ]
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        ends = await consumer.end_offsets(places)
        waiting = {place for place in places if ends[place]}
        count = 0
        while waiting:
            for records in (await consumer.getmany(timeout_ms=250)).values():
                count += len(records)
            for place in list(waiting):
                # The last offset of a transaction is its marker, which is passed and never handed out.
                if await consumer.position(place) >= ends[place]:
                    waiting.discard(place)
        return count
    finally:
        await consumer.stop()


def main() -> None:
    began, used = time.monotonic(), time.process_time()
    count = uvloop.run(read(sys.argv[1], sys.argv[2:]))
    print(
        json.dumps({"seconds": time.monotonic() - began, "cpu": time.process_time() - used, "records": count})
    )


if __name__ == "__main__":
    main()
