"""A real registry of images on the loopback: Debian's `docker-registry`, open or with basic authentication."""

from __future__ import annotations

import ipaddress
import shutil
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import needs

USER, PASSWORD = "ann", "a-registry-canary-5150"
# bcrypt of PASSWORD, which the registry asks for; Python has no bcrypt of its own.
HTPASSWD = "ann:$2b$04$QUOS4TNHxCWGK2NiTye0YeHQQC3yQoL6NF/eDPXQcJgylZxmR9F3K\n"


TRUSTED = Path("/etc/docker/certs.d")
"""Where a Docker Engine looks for the authorities that it trusts, a directory for each registry."""


@contextmanager
def registry(place: Path, *, private: bool = False, tls: bool = False) -> Iterator[str]:
    """A registry with its data in a directory; gives `host:port`.

    Args:
        place: an empty directory.
        private: ask for USER and PASSWORD.
        tls: speak HTTPS, with a certificate by an authority of its own, which is `place/ca.crt`. It is then on this
            machine's own address, for on the loopback an engine trusts everybody.
    """
    program = shutil.which("docker-registry")
    if program is None:
        reason = "no docker-registry: apt-get install docker-registry"
        needs.missing(reason)
    address = _own_address() if tls else "127.0.0.1"
    with socket.socket() as probe:
        probe.bind((address, 0))
        port = probe.getsockname()[1]
    place.mkdir(parents=True)
    config = f"version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {place}/data}}}}\n"
    config += f"http: {{addr: '{address}:{port}', {_certified(place, address) if tls else ''}}}\n"
    if private:
        (place / "htpasswd").write_text(HTPASSWD)
        config += f"auth: {{htpasswd: {{realm: tests, path: {place}/htpasswd}}}}\n"
    (place / "config.yml").write_text(config)
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([program, "serve", str(place / "config.yml")], stdout=log, stderr=log)
    try:
        for _ in range(300):
            assert process.poll() is None, (place / "log").read_text()
            if _answers(f"{address}:{port}", place / "ca.crt" if tls else None):
                break
            time.sleep(0.1)
        yield f"{address}:{port}"
    finally:
        process.terminate()
        process.wait()


def _answers(host: str, authority: Path | None) -> bool:
    trusted = ssl.create_default_context(cafile=str(authority)) if authority else None
    try:
        scheme = "https" if authority else "http"
        urllib.request.urlopen(f"{scheme}://{host}/v2/", timeout=5, context=trusted).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False
    return True


def _own_address() -> str:
    """An address of this machine that is not on the loopback; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            needs.missing("this machine has no address of its own for a registry with TLS")
        return str(probe.getsockname()[0])


def _certified(place: Path, address: str) -> str:
    """Makes an authority and a certificate for an address; the registry's setting."""
    now = datetime.now(UTC)
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, one)]) for one in ("tests' authority", address)]

    def certificate(number: int, *extensions: x509.ExtensionType) -> bytes:
        building = x509.CertificateBuilder(names[0], names[number], keys[number].public_key())
        building = building.serial_number(x509.random_serial_number())
        building = building.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=6))
        for extension in extensions:
            building = building.add_extension(extension, critical=False)
        return building.sign(keys[0], hashes.SHA256()).public_bytes(Encoding.PEM)

    (place / "ca.crt").write_bytes(certificate(0, x509.BasicConstraints(ca=True, path_length=None)))
    own = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    (place / "own.crt").write_bytes(certificate(1, own))
    (place / "own.key").write_bytes(keys[1].private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return f"tls: {{certificate: {place}/own.crt, key: {place}/own.key}}"


@contextmanager
def trusted(host: str, authority: Path) -> Iterator[None]:
    """The engine of this machine trusts an authority for a registry meanwhile.

    Args:
        host: `host:port` of the registry.
        authority: its certificate.
    """
    directory = TRUSTED / host
    try:
        directory.mkdir(parents=True)
    except PermissionError as error:
        needs.missing(f"who may not write into {TRUSTED} cannot make an engine trust a registry ({error})")
    try:
        shutil.copyfile(authority, directory / "ca.crt")
        yield
    finally:
        shutil.rmtree(directory)
