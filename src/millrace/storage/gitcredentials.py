"""What opens a private repository."""

from __future__ import annotations

import base64
import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millrace.errors import InvalidInput
from millrace.storage.placeholders import plain

_FIELDS = ("username", "access_token", "password", "ssh_key")
# What the hosts take as user beside a token, where the token does not say it.
_USERS = {"gitlab.com": "oauth2", "bitbucket.org": "x-token-auth"}


@dataclass(frozen=True, repr=False)
class GitCredentials:
    """Credentials as they were given: texts and secrets by name."""

    given: dict[str, Any]

    def __repr__(self) -> str:
        return f"GitCredentials({', '.join(self.given)})"

    @classmethod
    def of(cls, given: Any) -> GitCredentials | None:
        """Credentials as a user gives them.

        Args:
            given: a dict with `access_token` (and `username`), or with `ssh_key`; an object with such attributes (a
                credentials block); or a secret, which is the token.

        Raises:
            InvalidInput: nothing in it opens anything.
        """
        if given is None or isinstance(given, cls) or given == {}:
            return given or None
        if not isinstance(given, dict):
            found = {
                name: getattr(given, name) for name in ("username", "token", "access_token") if hasattr(given, name)
            }
            given = found or {"access_token": given}
        known = {("access_token" if name in ("token", "password") else name): value for name, value in given.items()}
        if unknown := sorted(set(known) - set(_FIELDS)):
            raise InvalidInput(
                f"Credentials of git have no {', '.join(map(repr, unknown))}; they have {', '.join(_FIELDS)}."
            )
        known = {name: value for name, value in known.items() if value is not None}
        if "username" in known and "access_token" not in known and "ssh_key" not in known:
            raise InvalidInput("With a username an access_token (or password) has to be given too.")
        if ("access_token" in known) == ("ssh_key" in known):
            raise InvalidInput("Credentials of git have either an access_token or an ssh_key.")
        return cls(known)

    @property
    def token(self) -> str | None:
        """The token as a text, for masking and for the header."""
        value = self.given.get("access_token")
        return plain(value) if value is not None else None

    def environment(self, url: str) -> dict[str, str]:
        """What the git process finds in its environment.

        Args:
            url: of the repository.

        Raises:
            InvalidInput: there is no such key, or a token would travel in the clear.
        """
        if "ssh_key" in self.given:
            key = Path(str(self.given["ssh_key"])).expanduser()
            if not key.is_file():
                raise InvalidInput(f"There is no private key {key} on this machine.")
            options = "-o IdentitiesOnly=yes -o BatchMode=yes -o StrictHostKeyChecking=accept-new -o ConnectTimeout=30"
            # The user's own command says more: another file of known hosts, a host in between.
            command = os.environ.get("GIT_SSH_COMMAND") or "ssh"
            return {"GIT_SSH_COMMAND": f"{command} -i {shlex.quote(str(key))} {options}"}
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http"):
            raise InvalidInput(f"A token opens https repositories only, and {url!r} is none. Use an ssh_key for it.")
        if parts.scheme == "http" and (parts.hostname or "") not in ("localhost", "127.0.0.1", "::1"):
            raise InvalidInput(f"The token would travel in the clear to {parts.hostname}. Use https.")
        user = self.given.get("username") or _USERS.get(parts.hostname or "", "x-access-token")
        pair = base64.b64encode(f"{plain(user)}:{self.token}".encode()).decode()
        return {
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{parts.scheme}://{parts.netloc}/.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {pair}",
        }
