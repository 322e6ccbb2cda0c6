"""Encryption at rest: secrets are written under a key that is not in the database."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from sqlalchemy import select

from millrace.errors import Conflict, SettingsError
from millrace.store.columns import dumps, insert
from millrace.store.database import Transaction
from millrace.store.tables import memory

_CHECK = "encryption_key_check"
_KNOWN = "millrace"


class Vault:
    """Encrypts and decrypts JSON values by one key: that of the setting, else that of the key file.

    The key file is made when the first secret is stored, never when secrets are there already: a lost key is told, not
    replaced.

    Args:
        key_file: where the key lies, with mode 0600.
        key: the key of the setting `MILLRACE_ENCRYPTION_KEY`; None: that of the file.

    Example:
        >>> vault = Vault(Path("/tmp/key"), SecretStr(Vault.fresh_key()))
        >>> vault.name
        'MILLRACE_ENCRYPTION_KEY'
    """

    def __init__(self, key_file: Path, key: SecretStr | None = None) -> None:
        self._file = key_file
        self._given = key
        self._lock = threading.Lock()
        self._fernet: Any = None

    @property
    def name(self) -> str:
        """Where the key comes from, for messages."""
        return "MILLRACE_ENCRYPTION_KEY" if self._given is not None else str(self._file)

    @staticmethod
    def fresh_key() -> str:
        """A new key."""
        key: bytes = _fernet_class().generate_key()
        return key.decode()

    def encrypt(self, tx: Transaction, value: Any) -> str:
        """A JSON value as a text that only the key opens.

        Args:
            tx: a writing transaction; the first secret leaves in it a mark to know the key by.
            value: the JSON value.

        Raises:
            Conflict: the database's secrets were written under another key, or the key is lost.
            SettingsError: the key is malformed.
        """
        check = self._check(tx)
        fernet = self._opened(may_make=check is None)
        if check is None:
            mark = fernet.encrypt(_KNOWN.encode()).decode()
            row = insert(tx.connection, memory).values(name=_CHECK, value=mark)
            tx.connection.execute(row.on_conflict_do_nothing(index_elements=[memory.c.name]))
        else:
            self._decrypted(fernet, check)
        sealed: bytes = fernet.encrypt(dumps(value).encode())
        return sealed.decode()

    def decrypt(self, text: str) -> Any:
        """The value that `encrypt` was given.

        Args:
            text: what it answered.

        Raises:
            Conflict: it was written under another key, or the key is lost.
        """
        return json.loads(self._decrypted(self._opened(may_make=False), text))

    def forget_key(self, tx: Transaction) -> None:
        """No secret is left: the next one may come under another key."""
        tx.connection.execute(memory.delete().where(memory.c.name == _CHECK))

    def _check(self, tx: Transaction) -> str | None:
        found: str | None = tx.connection.scalar(select(memory.c.value).where(memory.c.name == _CHECK))
        return found

    def _decrypted(self, fernet: Any, text: str) -> bytes:
        try:
            found: bytes = fernet.decrypt(text.encode())
        except _invalid_token():
            raise self._wrong() from None
        return found

    def _wrong(self) -> Conflict:
        return Conflict(
            f"The secrets of this server were encrypted under another key than that of {self.name}. Give it the right "
            "one; if it is lost, delete the secrets (millrace secret delete NAME) and save them again."
        )

    def _opened(self, *, may_make: bool) -> Any:
        with self._lock:
            if self._fernet is None:
                key = self._given.get_secret_value() if self._given is not None else self._from_file(may_make)
                try:
                    self._fernet = _fernet_class()(key.strip().encode())
                except ValueError:
                    raise SettingsError(
                        f"The encryption key of {self.name} is malformed: it must be 32 random bytes in url-safe "
                        "base64, as `millrace secret new-key` prints them."
                    ) from None
            return self._fernet

    def _from_file(self, may_make: bool) -> str:
        try:
            return self._file.read_text()
        except FileNotFoundError:
            if may_make:
                return _made(self._file, self.fresh_key)
            raise Conflict(
                f"The key of this server's secrets, {self._file}, is gone. Put it back, or set "
                "MILLRACE_ENCRYPTION_KEY; if it is lost, delete the secrets (millrace secret delete NAME) and save "
                "them again."
            ) from None
        except OSError as error:
            raise SettingsError(f"The key of this server's secrets, {self._file}, cannot be read: {error}") from None


def _made(path: Path, key: Callable[[], str]) -> str:
    """The key in a file that is made if it is not there; of several who make it at once, one wins."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(key() + "\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return path.read_text()


# The one border of `cryptography`: loaded by the first secret, so that a server without secrets goes without it.


def _fernet_class() -> Any:
    return importlib.import_module("cryptography.fernet").Fernet


def _invalid_token() -> type[Exception]:
    kind: type[Exception] = importlib.import_module("cryptography.fernet").InvalidToken
    return kind
