"""Serializers by name, of one's own, and what a record may ask a reader to do."""

from __future__ import annotations

import base64
import json
import lzma
import threading
from typing import Any, ClassVar

import pytest

from millrace import CompressedSerializer, JSONSerializer, PickleSerializer, Serializer
from millrace.engine.serializers import of_description, serializer, written
from millrace.errors import InvalidInput, SerializationError, UnreadableResult


class Shouting(Serializer):
    type: ClassVar[str] = "shouting"

    def dumps(self, value: Any) -> bytes:
        return b"\xff" + str(value).upper().encode()

    def loads(self, blob: bytes) -> Any:
        return blob[1:].decode()


def test_names() -> None:
    assert serializer("json") == JSONSerializer()
    assert serializer("pickle") == PickleSerializer()
    assert serializer("compressed/json") == CompressedSerializer("json", "zlib")
    assert serializer("compressed/pickle").executes
    assert isinstance(serializer("shouting"), Shouting) and isinstance(serializer(Shouting), Shouting)


@pytest.mark.parametrize("given", ["yaml", "compressed/yaml", "compressed", "", 3, object])
def test_what_is_no_serializer(given: Any) -> None:
    with pytest.raises(InvalidInput, match=r"there is no serializer|must be a name"):
        serializer(given)


def test_a_built_in_name_cannot_be_taken() -> None:
    with pytest.raises(InvalidInput, match="'pickle' of the serializer Mine is built in"):
        type("Mine", (Serializer,), {"type": "pickle"})


@pytest.mark.parametrize("library", ["zlib", "lzma", "bz2", "gzip"])
def test_compressions(library: str) -> None:
    how = CompressedSerializer("json", library)
    blob = how.dumps(["x" * 10_000])
    assert len(blob) < 1000
    assert of_description(how.described()).loads(blob) == ["x" * 10_000]
    with pytest.raises(InvalidInput, match="no compression 'os'"):
        CompressedSerializer("json", "os")


def test_what_prefect_says_of_its_own_is_understood() -> None:
    said = {
        "type": "json",
        "jsonlib": "json",
        "object_encoder": "prefect.serializers.prefect_json_object_encoder",
        "object_decoder": "prefect.serializers.prefect_json_object_decoder",
        "dumps_kwargs": {},
        "loads_kwargs": {},
    }
    assert of_description(said).loads(b'{"__class__": "builtins.set", "data": [1]}') == {1}
    squeezed = {"type": "compressed/json", "serializer": said, "compressionlib": "lzma"}
    assert of_description(squeezed).loads(base64.encodebytes(lzma.compress(b"[1]"))) == [1]
    assert isinstance(of_description({"type": "pickle", "picklelib": "cloudpickle"}), PickleSerializer)


@pytest.mark.parametrize(
    "said",
    [
        {"type": "pickle", "picklelib": "os"},
        {"type": "json", "jsonlib": "subprocess"},
        {"type": "compressed/json", "compressionlib": "os"},
        {"type": "unheard-of"},
        {},
        None,
    ],
)
def test_libraries_that_a_record_names_are_not_loaded(said: Any) -> None:
    with pytest.raises((UnreadableResult, InvalidInput)):
        of_description(said)


def test_what_cannot_be_serialized_names_type_owner_and_remedy() -> None:
    with pytest.raises(SerializationError) as caught:
        written(serializer("json"), {"stream": iter(())}, "the flow 'etl'")
    text = str(caught.value)
    for part in (
        "the flow 'etl'",
        "of type dict",
        "['stream'] is of type tuple_iterator",
        "result_serializer='pickle'",
    ):
        assert part in text, text
    assert caught.value.value is not None
    with pytest.raises(SerializationError, match="cannot be stored as pickle: TypeError"):
        written(serializer("pickle"), threading.Lock(), "the flow 'etl'")
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(SerializationError, match="contains itself"):
        written(serializer("json"), loop, "this")


def test_a_serializer_that_gives_no_bytes_is_named() -> None:
    class Texts(Shouting):
        type: ClassVar[str] = "texts"

        def dumps(self, value: Any) -> bytes:
            return "a text"  # type: ignore[return-value]

    for how in (Texts(), CompressedSerializer(Texts())):
        with pytest.raises(
            SerializationError, match=r"cannot be stored as .*: its dumps\(\) gave str, not bytes\. Ret"
        ):
            written(how, 1, "the flow 'etl'")


def test_pickles_keep_what_a_notebook_defines() -> None:
    how = serializer("pickle")
    assert how.loads(how.dumps(lambda x: x + 1))(2) == 3
    assert json.dumps(how.described()) == '{"type": "pickle", "picklelib": "cloudpickle"}'
