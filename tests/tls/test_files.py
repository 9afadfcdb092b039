"""Certificates, keys and authorities that cannot be taken are told in words, by services and clients alike."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.programs import run_program
from tests.tls.conftest import CLIENT, Authority
from trunkline import GrpcMessageBus, Tls, TlsError
from trunkline.tls import pem
from trunkline.tls.certificates import write_certificates
from trunkline.tls.pem import load_authorities, load_key_pair

Spoil = Callable[[Path, Path], object]


def _encrypt(_: Path, key: Path) -> None:
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(key.read_bytes(), None)
    how = serialization.BestAvailableEncryption(b"secret")
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))


def _make_folder(certificate: Path, _: Path) -> None:
    certificate.unlink()
    certificate.mkdir()


def _expire(certificate: Path, key: Path) -> None:
    ended = datetime.now(UTC) - timedelta(hours=1)
    leaf = trustme.CA().issue_cert("localhost", not_before=ended - timedelta(days=1), not_after=ended)
    leaf.cert_chain_pems[0].write_to_path(certificate)
    leaf.private_key_pem.write_to_path(key)


def _of_another(certificate: Path, key: Path) -> None:
    trustme.CA().issue_cert("localhost").private_key_pem.write_to_path(key)


def _sign_own(private: Any, certificate: Path, key: Path, hash: Any = None) -> None:
    """Puts a certificate that a key has signed itself in the place of the one that is there, and the key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization

    name, now = x509.Name.from_rfc4514_string("CN=localhost"), datetime.now(UTC)
    made = (
        x509.CertificateBuilder(name, name, private.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hash)
    )
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))


def _of_ed25519(certificate: Path, key: Path) -> None:
    _sign_own(ed25519.Ed25519PrivateKey.generate(), certificate, key)


def _on_p521(certificate: Path, key: Path) -> None:
    _sign_own(ec.generate_private_key(ec.SECP521R1()), certificate, key, hashes.SHA256())


def _of_short_rsa(certificate: Path, key: Path) -> None:
    _sign_own(rsa.generate_private_key(65_537, 1_024), certificate, key, hashes.SHA256())


ON_UNKNOWN_CURVE = """\
-----BEGIN CERTIFICATE-----
MIIBTzCCARigAwIBAgIUFSJZyt/uPiVmNPYoTO6HB9m9AoEwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MB4XDTI2MTEyOTIwMTU1NFoXDTI2MTIwODIw
MTU1NFowFDESMBAGA1UEAwwJbG9jYWxob3N0MDIwEAYHKoZIzj0CAQYFK4EEAAYD
HgAE1Geik92DSET5hDZAzU+1RonYpEE9FVECMBu6vKNvMG0wHQYDVR0OBBYEFPWb
GJXNrET62bgtt1WRWiw10Jp1MB8GA1UdIwQYMBaAFPWbGJXNrET62bgtt1WRWiw1
0Jp1MA8GA1UdEwEB/wQFMAMBAf8wGgYDVR0RBBMwEYIJbG9jYWxob3N0hwR/AAAB
MAoGCCqGSM49BAMCAyUAMCICDwCN2eKTt+Vn9SengwdhzAIPAMBo41CdNcZLTuWu
us97
-----END CERTIFICATE-----
"""
"""It is on secp112r1, which the library that reads certificates does not know."""

_TAKEN = "RSA of at least 2048 bits is, and EC on P-256 or P-384"
SPOILT: dict[str, tuple[Spoil, str]] = {
    "missing certificate": (lambda certificate, key: certificate.unlink(), "cert {0} cannot be read: No such file"),
    "missing key": (lambda certificate, key: key.unlink(), "key {1} cannot be read: No such file"),
    "a folder": (_make_folder, "cert {0} cannot be read: Is"),
    "no PEM": (lambda certificate, key: certificate.write_text("x"), "cert {0} is no certificate in PEM"),
    "empty": (lambda certificate, key: certificate.write_text(""), "cert {0} is no certificate in PEM"),
    "a key for a certificate": (
        lambda certificate, key: certificate.write_text(key.read_text()),
        "cert {0} is no certificate in PEM",
    ),
    "a certificate for a key": (
        lambda certificate, key: key.write_text(certificate.read_text()),
        "key {1} is no private key in PEM",
    ),
    "a key of another": (_of_another, "key {1} does not match the certificate {0}"),
    "an encrypted key": (_encrypt, "key {1} is encrypted with a password"),
    "a key for the group": (
        lambda certificate, key: key.chmod(0o640),
        "key {1} can be read by others (mode 0640): chmod 600 {1}",
    ),
    "a key for the world": (
        lambda certificate, key: key.chmod(0o604),
        "key {1} can be read by others (mode 0604): chmod 600 {1}",
    ),
    "an old certificate": (_expire, "cert {0} expired on "),
    "a key of Ed25519": (_of_ed25519, f"key {{1}} is of a kind that gRPC's TLS does not take: {_TAKEN}"),
    "a key on P-521": (_on_p521, f"key {{1}} is of a kind that gRPC's TLS does not take: {_TAKEN}"),
    "a short key": (_of_short_rsa, f"key {{1}} is of a kind that gRPC's TLS does not take: {_TAKEN}"),
    "a certificate of an unknown kind": (
        lambda certificate, key: certificate.write_text(ON_UNKNOWN_CURVE),
        f"cert {{0}} has a key of a kind that is not taken: {_TAKEN}",
    ),
    "binary": (lambda certificate, key: certificate.write_bytes(os.urandom(64)), "cert {0} is no certificate"),
}


@pytest.fixture
def own(make_authority: Callable[[], Authority]) -> Authority:
    """An authority whose files the test spoils."""
    return make_authority()


@pytest.mark.parametrize("kind", SPOILT)
async def test_a_client_is_told_before_it_calls(own: Authority, kind: str) -> None:
    """By the variable that is wrong, the file, and what is wrong with it."""
    spoil, told = SPOILT[kind]
    client = own.client
    spoil(Path(str(client.cert)), Path(str(client.key)))
    with pytest.raises(TlsError) as caught:
        await GrpcMessageBus("tls://127.0.0.1:1", tls=client).connect()
    words = told.replace("cert {0} ", "CERT {0} ", 1).replace("key {1} ", "KEY {1} ", 1)
    assert f"TRUNKLINE_TLS_{words.format(client.cert, client.key)}" in caught.value.message
    assert caught.value.details["reason"] in ("invalid_files", "expired")


@pytest.mark.parametrize(
    "kind",
    [
        *("missing key", "no PEM", "a key of another", "a key for the world", "an old certificate"),
        *("a key of Ed25519", "a certificate of an unknown kind"),
    ],
)
def test_a_service_does_not_start(own: Authority, kind: str) -> None:
    """Exit code 1, and the same words."""
    spoil, told = SPOILT[kind]
    certificate, key = own.directory / "server.pem", own.directory / "server.key"
    spoil(certificate, key)
    done = run_program("bus", "--engine", "memory", "--address", "127.0.0.1:0", *own.served)
    assert done.returncode == 1
    assert f"tls_{told.format(certificate, key)}" in done.stderr
    assert "ready" not in done.stderr


def test_authorities_are_looked_into_too(own: Authority, tmp_path: Path) -> None:
    """Of services for their clients, and of clients for services."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    done = run_program("bus", "--address", "127.0.0.1:0", *own.served, "--tls-client-ca", str(empty))
    assert done.returncode == 1
    assert f"tls_client_ca {empty} is no certificate in PEM" in done.stderr
    with pytest.raises(TlsError, match="is no certificate in PEM"):
        Tls(ca=str(empty)).load()
    with pytest.raises(TlsError, match="cannot be read: No such file"):
        Tls(ca=str(tmp_path / "none")).load()


def test_a_certificate_without_its_key_is_a_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in the environment."""
    with pytest.raises(TlsError, match=r"cert is given without key \(TRUNKLINE_TLS_KEY\)"):
        Tls(cert="c")
    monkeypatch.setenv("TRUNKLINE_TLS_KEY", "k")
    with pytest.raises(TlsError, match=r"key is given without cert \(TRUNKLINE_TLS_CERT\)"):
        Tls.from_environment()


def test_the_operating_systems_authorities_are_found_or_it_is_told(
    own: Authority, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where its library has them (SSL_CERT_FILE says where), else where systems keep them."""
    monkeypatch.setenv("SSL_CERT_FILE", own.ca)
    assert load_authorities("system").decode() == own.pem["ca.pem"]
    monkeypatch.setenv("SSL_CERT_FILE", f"{tmp_path}/none")
    monkeypatch.setattr(pem, "_BUNDLES", ())
    with pytest.raises(TlsError, match="has no bundle of authorities that is known here: name a file"):
        load_authorities("system")


def test_a_key_of_root_may_be_for_the_group(own: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    """So Kubernetes hands keys to users that are not root; for the world it may never be."""
    pair = (f"{own.directory}/server.pem", f"{own.directory}/server.key")
    if os.geteuid() != 0:
        pytest.skip("only root has files that belong to root")
    os.chmod(pair[1], 0o640)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert load_key_pair(*pair).subject
    os.chmod(pair[1], 0o644)
    with pytest.raises(TlsError, match="chmod 640"):
        load_key_pair(*pair)


def test_keys_are_nowhere_to_be_read(own: Authority) -> None:
    """Not in errors, logs, representations or the list of processes."""
    files = own.pem
    secret = files["server.key"]
    inner = secret.splitlines()[1]
    assert inner not in repr(Tls(cert=files[f"{CLIENT}.pem"], key=secret))
    with pytest.raises(TlsError) as caught:
        load_key_pair(files[f"{CLIENT}.pem"], secret)
    assert inner not in f"{caught.value!r} {caught.value.to_dict()}"
    assert "key (PEM) does not match the certificate (PEM)" in caught.value.message
    done = run_program("bus", "--address", "127.0.0.1:0", "--tls-cert", "c", "--tls-key", secret)
    assert done.returncode == 2
    assert "everybody sees in the list of processes" in done.stderr
    served = {"TRUNKLINE_BUS_TLS_CERT": files[f"{CLIENT}.pem"], "TRUNKLINE_BUS_TLS_KEY": secret}
    other = run_program("bus", "--address", "127.0.0.1:0", **served)
    assert other.returncode == 1
    assert "tls_key (PEM) does not match" in other.stderr
    bare = "".join(secret.splitlines()[1:-1])
    headless = run_program("bus", "--address", "127.0.0.1:0", **(served | {"TRUNKLINE_BUS_TLS_KEY": bare}))
    assert "tls_key (not shown: it looks like a key) cannot be read" in headless.stderr
    for text in (done.stderr, other.stderr, headless.stderr):
        assert inner not in text
        assert "BEGIN" not in text


def test_the_command_makes_files_for_their_owner(tmp_path: Path) -> None:
    """An authority once, and what it signs anew each time; names are checked."""
    folder = tmp_path / "certs"
    made = run_program("certs", str(folder), "--client", "ops", "--format", "json", module="trunkline.cli")
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    names = ["ca.key", "ca.pem", "ops.key", "ops.pem", "server.key", "server.pem"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {stat.S_IMODE((folder / name).stat().st_mode) for name in names[::2]} == {0o600}
    assert "BEGIN" not in made.stdout
    before = {name: (folder / name).read_bytes() for name in names}
    again = run_program("certs", str(folder), "--name", "bus.example", module="trunkline.cli")
    assert again.returncode == 0, again.stderr
    changed = {name for name in names if (folder / name).read_bytes() != before[name]}
    assert changed == {"server.key", "server.pem"}
    for wrong in (
        ("--client", "ca"),
        ("--client", "../x"),
        ("--client", "a_b"),
        ("--name", "no name"),
        ("--days", "0"),
    ):
        refused = run_program("certs", str(folder), *wrong, module="trunkline.cli")
        assert refused.returncode == 2, refused.stdout
        assert wrong[1] in refused.stderr


def test_an_authority_that_is_none_is_not_replaced(own: Authority) -> None:
    """Whoever has lost its key is told, and nothing is written over."""
    (own.directory / "ca.key").unlink()
    before = own.pem
    with pytest.raises(TlsError, match=r"ca\.key cannot be read"):
        write_certificates(own.directory)
    assert own.pem == before
