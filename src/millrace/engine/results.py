"""Results of runs: kept in a storage, referred to by a state, read by any process that reaches the storage.

A result is kept until somebody deletes it: nothing here ever does. One with an expiration is no longer given
afterwards; it stays where it lies.
"""

from __future__ import annotations

import base64
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from millrace import plugins, settings
from millrace.engine.encoding import UnknownClass
from millrace.engine.serializers import (
    CompressedSerializer,
    JSONSerializer,
    Serializer,
    of_description,
    serializer,
    written,
)
from millrace.engine.storages import LocalStorage, RemoteStorage, Storage, behind, default_place, storage_at
from millrace.errors import InvalidInput, MillraceError, MissingResult, StorageUnavailable, UnreadableResult
from millrace.schema.fields import now
from millrace.schema.states import State, StateType


def api_implementation() -> str:
    """The version this program gives where the wire asks for Prefect's."""
    try:
        return f"3.8.8+millrace{version('millrace')}"
    except PackageNotFoundError:
        return "3.8.8+millrace"


@dataclass(frozen=True, slots=True)
class Kept:
    """What was found under a key.

    Attributes:
        value: the result.
        expiration: until when it holds; None: for ever.
        reference: what `write` gave for it.
    """

    value: Any
    expiration: datetime | None = None
    reference: dict[str, Any] | None = None


@dataclass(frozen=True)
class ResultStore:
    """Where the results of a run are kept, and how.

    Args:
        storage: a directory or a URL that fsspec opens.
        serializer: how values become bytes.

    Example:
        >>> store = store_for("memory://example")
        >>> reference = store.write("total", 3)
        >>> store.read("total").value
        3
    """

    storage: Storage
    serializer: Serializer

    def write(self, key: str, value: Any, expires: datetime | None = None, *, of: str = "this run") -> dict[str, Any]:
        """Keeps a value and gives the reference that goes into `State.data`.

        Of several writers of one key the last holds; readers see one of the values whole.

        Args:
            key: names separated by `/`.
            value: the value.
            expires: until when it is given.
            of: whose result it is, for messages.

        Raises:
            SerializationError: the serializer cannot store it.
            StorageUnavailable: the storage cannot be reached or refuses.
            InvalidInput: the key would leave the storage.
        """
        blob = written(self.serializer, value, of)
        reference = _reference(self.storage.address(key), expires, self.serializer.described())
        record: dict[str, Any] = {"metadata": reference}
        try:
            record["result"] = blob.decode()
        except UnicodeDecodeError:
            record |= {"result": base64.b64encode(blob).decode("ascii"), "encoding": "base64"}
        try:
            self.storage.write(key, json.dumps(record).encode())
        except StorageUnavailable as error:
            error.value = value
            raise
        return reference

    def read(self, key: str, *, allow_pickle: bool = False) -> Kept | None:
        """What is kept under a key; None if there is nothing or it has expired.

        Args:
            key: as it was written.
            allow_pickle: read a pickle too, which a store that writes pickles does anyway.

        Raises:
            UnreadableResult: it is damaged, or a pickle.
            StorageUnavailable: the storage cannot be reached or refuses.
        """
        record = self._record(key)
        if record is None or record.expired:
            return None
        reference = _reference(record.address, record.expiration, record.serializer)
        return Kept(record.value(allow_pickle or self.serializer.executes), record.expiration, reference)

    def exists(self, key: str) -> bool:
        """Whether something is kept under a key and has not expired."""
        record = self._record(key)
        return record is not None and not record.expired

    def _record(self, key: str) -> _Record | None:
        data = self.storage.read(key)
        return None if data is None else _Record.parsed(data, self.storage.address(key))


@dataclass(frozen=True, slots=True)
class _Record:
    """A stored result before it is turned into a value."""

    address: str
    blob: bytes
    serializer: Any
    expiration: datetime | None

    @classmethod
    def parsed(cls, data: bytes, address: str, reference: Mapping[str, Any] | None = None) -> _Record:
        """A stored record; or a bare value, as Prefect keeps those of flows, that only its reference describes."""
        try:
            found = json.loads(data)
            metadata, text = found["metadata"], found["result"]
            blob = base64.b64decode(text) if found.get("encoding") == "base64" else text.encode()
            how, until = metadata.get("serializer"), metadata.get("expiration")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if reference is None:
                raise UnreadableResult(
                    f"the result {address} is damaged or none of ours ({type(error).__name__}). Run the flow again, "
                    "and delete it if nothing else needs it"
                ) from None
            blob, how, until = data, reference["serializer"], reference.get("expiration")
        how = how or (reference or {}).get("serializer")
        try:
            return cls(address, blob, how, datetime.fromisoformat(until) if until else None)
        except (ValueError, TypeError):
            raise UnreadableResult(f"the result {address} has an expiration that is no time: {until!r}") from None

    @property
    def expired(self) -> bool:
        return self.expiration is not None and self.expiration <= now()

    def value(self, allow_pickle: bool) -> Any:
        try:
            how = of_description(self.serializer)
        except InvalidInput as error:
            raise UnreadableResult(f"the result {self.address} cannot be read here: {error}") from None
        if how.executes and not allow_pickle:
            raise UnreadableResult(
                f"the result {self.address} is a pickle, and reading it would run whatever it says. If you trust who "
                "wrote it: result(allow_pickle=True), or MILLRACE_RESULTS_SERIALIZER=pickle for all of them"
            )
        try:
            return how.loads(self.blob)
        except UnknownClass as error:
            raise UnreadableResult(
                f"the result {self.address} holds a {error}, a class that this process has not imported: import its "
                "module first, or define it in the notebook"
            ) from None
        except MillraceError:
            raise
        except Exception as error:
            raise UnreadableResult(
                f"the result {self.address} cannot be read as {how.described()['type']}: "
                f"{type(error).__name__}: {error}. It is damaged, or its class has changed since: run the flow again"
            ) from error

    def plain(self) -> Any:
        how, blob = of_description(self.serializer), self.blob
        if isinstance(how, CompressedSerializer):
            how, blob = how.serializer, how.unpacked(blob)
        if not isinstance(how, JSONSerializer):
            raise UnreadableResult(f"the result {self.address} is no JSON: read it in Python, with result()")
        return how.plain(blob)


def _reference(address: str, expires: datetime | None, how: Any) -> dict[str, Any]:
    return {
        "storage_key": address,
        "expiration": expires.isoformat() if expires else None,
        "serializer": how,
        "prefect_version": api_implementation(),
        "storage_block_id": None,
    }


def store_for(
    storage: str | Path | Storage | None = None,
    how: str | Serializer | type[Serializer] | None = None,
    parent: ResultStore | None = None,
) -> ResultStore:
    """The store of a flow or task: by its own arguments, else its parent run's, else the settings.

    Args:
        storage: a directory or URL, as `storage_at` takes it.
        how: a serializer, as `serializer` takes it.
        parent: the store of the run it belongs to.

    Raises:
        InvalidInput: one of them cannot be used.
        PluginMissing: a package for the storage is not installed; the message names it.
    """
    if storage is None and how is None and parent is not None:
        return parent
    place = storage if storage is not None else parent.storage if parent is not None else default_place()
    chosen = how if how is not None else parent.serializer if parent else settings.current().results_serializer
    found = storage_at(place)
    if isinstance(found, RemoteStorage):
        found.ready()
    return ResultStore(found, serializer(chosen))


_READ_ONLY = {"data", "git", "github", "gitlab", "http", "https", "reference"}


def _can_be_written(storage: Storage) -> None:
    """Refuses what fsspec does not know, or only reads; nothing is opened, and no package of a storage is needed."""
    if not isinstance(storage, RemoteStorage):
        return
    known = set(plugins.load("fsspec:available_protocols", install="pip install fsspec")())
    if storage.protocol not in known:
        close = difflib.get_close_matches(storage.protocol.lower(), known, 1)
        hint = f"did you mean {close[0]}://?" if close else "use a directory, or one of s3://, gs://, az://, memory://"
        raise InvalidInput(f"result_storage {storage.url!r}: fsspec knows no {storage.protocol}://; {hint}")
    if storage.protocol in _READ_ONLY:
        raise InvalidInput(
            f"result_storage {storage.url!r} can only be read: use a directory, or one of s3://, gs://, az://"
        )


def keeps(persist: bool | None, storage: Any, how: Any, in_memory: bool) -> bool | None:
    """Whether a flow or task says that its results are kept, by its options; checks them where they are written.

    Args:
        persist: `persist_result`.
        storage: `result_storage`.
        how: `result_serializer`.
        in_memory: `cache_result_in_memory`.

    Raises:
        InvalidInput: one of them cannot be used, or they contradict each other.
    """
    if storage is not None:
        _can_be_written(storage_at(storage))
    if how is not None:
        serializer(how)
    if persist is False and not in_memory:
        raise InvalidInput(
            "cache_result_in_memory=False with persist_result=False would keep the result nowhere: change one of them"
        )
    asked = storage is not None or how is not None or not in_memory
    return True if persist is None and asked else persist


def read(state: State, *, store: ResultStore | None = None, allow_pickle: bool = False) -> Any:
    """The stored result of a run, from any process that reaches the storage.

    Args:
        state: a Completed state as the server answers it.
        store: the store of the run, where that is known: it decides whether pickles are read.
        allow_pickle: read a pickle, which executes what it says.

    Raises:
        MissingResult: the run kept no result, or it is gone or has expired.
        UnreadableResult: it is damaged, of a storage unknown here, or a pickle that nobody allowed.
        StorageUnavailable: the storage cannot be reached or refuses.
    """
    if state.type is not StateType.COMPLETED:
        raise MissingResult(f"the run is {state.name}: it has no result")
    if state.data is None:
        raise MissingResult(
            "the run kept no result: none was asked for, or its value cannot be stored, as the run's log then says. "
            "Call the flow in this process, or set persist_result=True on it"
        )
    if not _refers(state.data):
        return state.data
    known = store or store_for()
    record = _referred(state.data, known)
    return record.value(allow_pickle or known.serializer.executes)


def read_plain(state: State) -> Any:
    """The same as JSON has it, for programs: without types, and never from a pickle.

    Args:
        state: a Completed state.
    """
    return _referred(state.data, store_for()).plain() if _refers(state.data) else read(state)


def _refers(data: Any) -> bool:
    return isinstance(data, dict) and isinstance(data.get("storage_key"), str) and "serializer" in data


def _referred(data: dict[str, Any], known: ResultStore) -> _Record:
    key = data["storage_key"]
    if data.get("storage_block_id"):
        raise UnreadableResult(
            f"the result {key} lies in a storage block of Prefect ({data['storage_block_id']}), which Millrace does "
            "not open: read it with the program that wrote it"
        )
    storage, name = behind(key, known.storage)
    found = storage.read(name)
    if found is None:
        raise MissingResult(f"the result {key} is gone{_why_gone(storage)}. Run the flow again")
    record = _Record.parsed(found, key, data)
    if record.expired:
        raise MissingResult(f"the result {key} expired at {record.expiration}. Run the flow again")
    return record


def _why_gone(storage: Storage) -> str:
    if isinstance(storage, LocalStorage):
        return ", or lies on another machine: result_storage takes a URL that all machines reach"
    if storage.place.startswith("memory:"):
        return ": what is kept in memory:// is known only to the process that wrote it"
    return ""
