"""A real ssh server on the loopback that gives git repositories to those who hold its key: Debian's `sshd`."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import needs


@dataclass
class SshServer:
    """What clients need to know of it.

    Args:
        address: `ssh://user@127.0.0.1:port`.
        key: a private key that opens it.
        other_key: one that does not.
        known_hosts: a file with its host key.
    """

    address: str
    key: Path
    other_key: Path
    known_hosts: Path


def _program() -> str:
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None or shutil.which("ssh-keygen") is None:
        reason = "no sshd: scripts/install_sshd.sh"
        needs.missing(reason)
    return found


def _key(file: Path) -> str:
    made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "tests", "-f", str(file)]
    subprocess.run(made, check=True, stdin=subprocess.DEVNULL)
    return file.with_suffix(".pub").read_text().strip()


@contextmanager
def ssh_server(place: Path) -> Iterator[SshServer]:
    """A server that does nothing but git.

    Args:
        place: a directory for its keys and its log.
    """
    program = _program()
    place.mkdir(parents=True)
    place.chmod(0o700)
    host_key, key = _key(place / "host"), _key(place / "key")
    _key(place / "other")
    only_git = 'command="git-shell -c \\"$SSH_ORIGINAL_COMMAND\\"",restrict'
    (place / "authorized").write_text(f"{only_git} {key}\n")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}\n")
    (place / "config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {place}/host\nPidFile {place}/pid\n"
        f"AuthorizedKeysFile {place}/authorized\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # as its service does
    with (place / "log").open("wb") as log:
        process = subprocess.Popen([program, "-D", "-e", "-f", str(place / "config")], stdout=log, stderr=log)
    try:
        for _ in range(300):
            assert process.poll() is None, (place / "log").read_text()
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        user = pwd.getpwuid(os.geteuid()).pw_name
        yield SshServer(f"ssh://{user}@127.0.0.1:{port}", place / "key", place / "other", place / "known_hosts")
    finally:
        process.terminate()
        process.wait()
