"""How fast the pure fold is: `python -m benchmarks.fold`.

Against a floor measured in the same run: putting the same keys into a bare dict and a deque, which is the least
that any deduplication does. Prints records/s of both and their ratio, the best of several runs.
"""

from __future__ import annotations

import argparse
import gc
import random
import time
from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from services.contract.envelope import Envelope, decode_envelope, digest_of, encode_envelope
from services.contract.generation import Generation
from services.contract.ids import new_entity_id, new_event_id
from services.eventlog.records import read_record
from services.eventlog.sequencer import Kind, Sequencer

START_MS = 1_700_000_000_000


def records(count: int, duplicates: float, rate: int, seed: int = 1) -> list[tuple[int, int, Envelope, int]]:
    """(offset, appended, envelope, digest) at `rate` records per second of log time, a share of them copies."""
    dice = random.Random(seed)
    channels = [new_entity_id("ch") for _ in range(1_000)]
    senders = [new_entity_id("usr") for _ in range(5_000)]
    log: list[tuple[int, int, Envelope, int]] = []
    for offset in range(count):
        now = START_MS + offset * 1000 // rate
        if log and dice.random() < duplicates:
            _, _, original, digest = log[-dice.randint(1, min(len(log), 1_000))]
            log.append((offset, now, replace(original, stamped=now), digest))
            continue
        header = encode_envelope(dice.choice(channels), dice.choice(senders), new_event_id(now - 5), now)
        log.append((offset, now, decode_envelope([header]), digest_of(header[1])))
    return log


def best(run: Callable[[], object], count: int, runs: int) -> float:
    """Records per second of the fastest run."""
    fastest = float("inf")
    for _ in range(runs):
        gc.collect()
        started = time.perf_counter()
        run()
        fastest = min(fastest, time.perf_counter() - started)
    return count / fastest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--duplicates", type=float, default=0.2, help="share of copies")
    parser.add_argument("--rate", type=int, default=10_000, help="records per second of log time")
    parser.add_argument("--runs", type=int, default=5)
    chosen = parser.parse_args()
    log = records(chosen.records, chosen.duplicates, chosen.rate)
    raw = [encode_envelope(e.channel, e.sender, e.id, e.stamped) for _, _, e, _ in log]

    def floor() -> None:
        window: dict[tuple[str, str, str], int] = {}
        ages: deque[tuple[int, tuple[str, str, str], int]] = deque()
        for offset, appended, envelope, digest in log:
            key = (envelope.channel, envelope.sender, envelope.id)
            if key not in window:
                window[key] = digest
                ages.append((appended, key, offset))

    def fold() -> None:
        apply = Sequencer(Generation(epoch=1)).apply
        for offset, appended, envelope, digest in log:
            apply(offset, appended, envelope, digest)

    def decode() -> None:
        for (offset, appended, _, _), header in zip(log, raw, strict=True):
            read_record(0, 1, offset, appended, (header,), b"{}")

    sequencer = Sequencer(Generation(epoch=1))
    kinds = [sequencer.apply(*entry).kind for entry in log]
    print(f"{chosen.records:,} records, {kinds.count(Kind.DUPLICATE) / len(kinds):.0%} duplicates")
    bare = best(floor, chosen.records, chosen.runs)
    for name, run in (("fold", fold), ("decoding the envelope", decode)):
        speed = best(run, chosen.records, chosen.runs)
        print(f"{name:<24}{speed:>12,.0f} records/s   {speed / bare:.2f} of the floor")
    print(f"{'floor (dict and deque)':<24}{bare:>12,.0f} records/s")


if __name__ == "__main__":
    main()
