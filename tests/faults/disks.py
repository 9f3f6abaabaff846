"""What happens to disks: a broker's data is wiped, or a partition loses its end; a file system that is small and full."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import struct
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tests.faults.lab import Skip

# A record batch (magic 2) begins: base offset, length of what follows, leader epoch, magic, CRC, attributes, and the
# offset of the last record relative to the base (https://kafka.apache.org/documentation/#recordbatch).
_HEAD: Final = struct.Struct(">qiibIhi")
_BEFORE_LENGTH_ENDS: Final = 12


def wipe(broker: Path) -> None:
    """Remove everything that a stopped broker has stored; it starts as if it were new. `broker`: its folder."""
    kept = {"meta.properties", "bootstrap.checkpoint"}
    for entry in (broker / "data").iterdir():
        if entry.name in kept:
            continue
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def cut(broker: Path, topic: str, partition: int, records: int) -> int:
    """Cut the last batches off a partition of a stopped broker, at least so many records; gives its new end.

    Raises ValueError when it has fewer.
    """
    folder = broker / "data" / f"{topic}-{partition}"
    segment = max(folder.glob("*.log"))
    content = segment.read_bytes()
    batches: list[tuple[int, int, int]] = []  # place in the file, first and last offset
    place = 0
    while place + _HEAD.size <= len(content):
        base, length, _, _, _, _, delta = _HEAD.unpack_from(content, place)
        if length <= 0:
            break  # preallocated
        batches.append((place, base, base + delta))
        place += _BEFORE_LENGTH_ENDS + length
    end = batches[-1][2] + 1 if batches else 0
    for place, first, _ in reversed(batches):
        if end - first >= records:
            os.truncate(segment, place)
            # Made anew from the segment; what they say of the part that is gone would be wrong.
            for pattern in ("*.index", "*.timeindex", "*.snapshot"):
                for file in folder.glob(pattern):
                    file.unlink()
            (broker / "data" / ".kafka_cleanshutdown").unlink(missing_ok=True)
            return first
    raise ValueError(f"{topic}-{partition} has {end} records, not {records}")


class SmallDisk:
    """A file system of a fixed size. `fill` leaves so little room that the next writes fail; `free` gives it back."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave: int) -> None:
        """Occupy all but `leave` bytes."""
        with self._ballast.open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, max(1, self.room() - leave))

    def room(self) -> int:
        """How many bytes are left."""
        return shutil.disk_usage(self.folder).free

    def free(self) -> None:
        self._ballast.unlink()


@contextlib.asynccontextmanager
async def small_disk(folder: Path, megabytes: int) -> AsyncIterator[SmallDisk]:
    """Mount a small tmpfs there for the length of a block. Raises Skip where that is not allowed."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "lockstep-faults", str(folder)]
    try:
        outcome = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise Skip(f"there is no mount command here: {error}") from error
    if outcome.returncode != 0:
        raise Skip(f"mounting a tmpfs is not allowed here: {outcome.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", "--lazy", str(folder)], check=False)
