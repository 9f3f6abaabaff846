"""An archive of Kafka's classes (JVM class data sharing): a broker then starts with half the CPU time.

Made once for a Java and a set of jars, by a broker that starts and stops in a temporary folder. Only an acceleration:
without it, or when the JVM finds that it does not fit, everything works the same.
"""

from __future__ import annotations

import hashlib
import subprocess
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from deploy.local.kafka import KafkaServer
from deploy.local.ports import free_ports
from deploy.local.toolchain import SHARED, Toolchain
from deploy.settings import KAFKA_VERSION

PATIENCE = 60.0


def with_archive(chain: Toolchain) -> Toolchain:
    """The same tools with the archive, made now if it has not been tried before."""
    archive = SHARED / f"kafka-{KAFKA_VERSION}-{_fingerprint(chain)}.jsa"
    if not archive.exists():
        print("Preparing Kafka's classes for fast starts (once) ...", flush=True)
        _make(chain, archive)
    return replace(chain, archive=archive) if archive.stat().st_size else chain


def _fingerprint(chain: Toolchain) -> str:
    said = subprocess.run(
        [chain.java, "-version"], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    return hashlib.sha256(f"{said.stderr!r}{chain.java}{chain.jars}".encode()).hexdigest()[:12]


def _make(chain: Toolchain, archive: Path) -> None:
    """Leaves the archive, or an empty file when this JVM makes none: it is not tried at every start."""
    with tempfile.TemporaryDirectory(prefix="kafka-classes-", dir=SHARED) as name:
        folder = Path(name)
        made = folder / "classes.jsa"
        port, controller = free_ports(2)
        server = KafkaServer(chain, folder, port, controller)
        server.prepare()
        java, *arguments = server.command()
        log = folder / "kafka.log"
        with log.open("wb") as output:
            broker = subprocess.Popen(
                [java, f"-XX:ArchiveClassesAtExit={made}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                deadline = time.monotonic() + PATIENCE
                while b"Kafka Server started" not in log.read_bytes():
                    if broker.poll() is not None or time.monotonic() > deadline:
                        break
                    time.sleep(0.1)
                broker.terminate()
                broker.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                pass  # then there is no archive
            finally:
                broker.kill()
                broker.wait()
        if not made.exists():
            made.touch()
        made.rename(archive)
