"""A release of tomorrow: `python -m tests.faults.newer_release MODULE` runs a process that also reads envelopes of
version 2, which say what those of version 1 say and name a shard besides. Everything else is today's."""

from __future__ import annotations

import runpy
import sys
from collections.abc import Iterable

from services.contract import envelope
from services.contract.envelope import HEADER, VERSION, Envelope

_today = envelope.decode_envelope


def encode(channel: str, sender: str, id: str, stamped: int) -> tuple[str, bytes]:
    """The Kafka header of version 2 for one record."""
    name, value = envelope.encode_envelope(channel, sender, id, stamped)
    return name, b"2" + value.removeprefix(VERSION) + b" shard-7"


def decode(headers: Iterable[tuple[str, bytes | None]]) -> Envelope:
    """Both versions; raises what today's raises."""
    read = []
    for name, value in headers:
        if name == HEADER and value is not None and value.startswith(b"2 ") and value.endswith(b" shard-7"):
            value = VERSION + value[1:].removesuffix(b" shard-7")
        read.append((name, value))
    return _today(read)


if __name__ == "__main__":
    envelope.decode_envelope = decode
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)
