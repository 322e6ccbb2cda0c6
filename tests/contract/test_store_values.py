"""Variables, artifacts and blocks on every database."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from pydantic import SecretStr

from millrace.errors import AlreadyExists, Conflict, NotFound
from millrace.schema.artifacts import ArtifactCount, ArtifactCreate, ArtifactFilter, ArtifactQuery, ArtifactSort
from millrace.schema.blocks import (
    BlockDocument,
    BlockDocumentCount,
    BlockDocumentCreate,
    BlockDocumentFilter,
    BlockDocumentQuery,
    BlockDocumentSort,
    BlockDocumentUpdate,
    BlockSchemaCreate,
    BlockSchemaFilter,
    BlockSchemaQuery,
    BlockTypeCreate,
    BlockTypeFilter,
    BlockTypeQuery,
)
from millrace.schema.flows import IdCondition, TagsCondition, TextCondition
from millrace.schema.variables import VariableCount, VariableCreate, VariableFilter, VariableQuery, VariableUpdate
from millrace.store import artifacts, block_documents, blocks, variables
from millrace.store.database import Database
from millrace.store.vault import Vault

VALUES: list[Any] = [None, True, 0, 2**60, 1.5, "", "text ü \u2028 %_\\'", [], [None, {}], {"a": {"b": [1]}}]


def made(db: Database, name: str, value: Any = 1, tags: list[str] | None = None) -> UUID:
    return db.write(lambda tx: variables.create(tx, VariableCreate(name=name, value=value, tags=tags))).id


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_a_variable_keeps_its_value(db: Database, value: Any) -> None:
    id = made(db, "one", value)
    for found in (db.read(lambda tx: variables.read(tx, id)), db.read(lambda tx: variables.by_name(tx, "one"))):
        assert found.value == value
        assert type(found.value) is type(value)


def test_variables_are_found_changed_and_forgotten(db: Database) -> None:
    made(db, "a_1", tags=["x"])
    made(db, "ab1", tags=["x", "y"])
    made(db, "b", tags=None)
    with pytest.raises(AlreadyExists):
        made(db, "b")

    def names(**fields: Any) -> list[str]:
        wanted = VariableFilter(**fields)
        found = db.read(lambda tx: variables.query(tx, VariableQuery(variables=wanted)))
        assert db.read(lambda tx: variables.count(tx, VariableCount(variables=wanted))) == len(found)
        return [one.name for one in found]

    assert names() == ["a_1", "ab1", "b"]
    assert names(name=TextCondition(like_="a_")) == ["a_1"]  # an underscore is one
    assert names(name=TextCondition(any_=["b", "gone"])) == ["b"]
    assert names(tags=TagsCondition(all_=["y", "x"])) == ["ab1"]
    db.write(lambda tx: variables.update_by_name(tx, "b", VariableUpdate(name="c", value=[1])))
    assert db.read(lambda tx: variables.by_name(tx, "c")).value == [1]
    with pytest.raises(AlreadyExists):
        db.write(lambda tx: variables.update_by_name(tx, "c", VariableUpdate(name="a_1")))
    db.write(lambda tx: variables.delete_by_name(tx, "c"))
    with pytest.raises(NotFound):
        db.write(lambda tx: variables.delete_by_name(tx, "c"))
    assert names() == ["a_1", "ab1"]


def test_artifacts_and_the_newest_of_a_key(db: Database) -> None:
    run = uuid4()

    def leave(key: str | None, data: Any) -> UUID:
        body = ArtifactCreate(key=key, type="markdown", data=data, flow_run_id=run)
        return db.write(lambda tx: artifacts.create(tx, body)).id

    first, second, other, bare = leave("k", "1"), leave("k", [2]), leave("other", None), leave(None, {"n": 1})
    assert db.read(lambda tx: artifacts.newest(tx, "k")).data == [2]
    for sort in ArtifactSort:
        query = ArtifactQuery(sort=sort, artifacts=ArtifactFilter(flow_run_id=IdCondition(any_=[run])))
        found = [one.id for one in db.read(lambda tx, query=query: artifacts.query(tx, query))]  # type: ignore[misc]
        assert sorted(found) == sorted([first, second, other, bare])
        newest = {one.latest_id for one in db.read(lambda tx, query=query: artifacts.latest(tx, query))}  # type: ignore[misc]
        assert newest == {second, other}
    assert db.read(lambda tx: artifacts.count(tx, ArtifactCount())) == 4
    assert db.read(lambda tx: artifacts.count_latest(tx, ArtifactCount())) == 2
    db.write(lambda tx: artifacts.delete(tx, second))
    assert db.read(lambda tx: artifacts.newest(tx, "k")).id == first
    db.write(lambda tx: artifacts.delete(tx, first))
    with pytest.raises(NotFound):
        db.read(lambda tx: artifacts.newest(tx, "k"))


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault(tmp_path / "key", SecretStr(Vault.fresh_key()))


FIELDS = {"title": "S", "type": "object", "properties": {"value": {}}, "secret_fields": ["value"]}


def test_block_documents(db: Database, vault: Vault, tmp_path: Path) -> None:
    numbers = itertools.count()
    kind = db.write(lambda tx: blocks.create_type(tx, BlockTypeCreate(name="S", slug="s")))
    with pytest.raises(Conflict):
        db.write(lambda tx: blocks.create_type(tx, BlockTypeCreate(name="S", slug="s")))
    of_kind = BlockSchemaCreate(fields={**FIELDS, "block_type_slug": "s"}, block_type_id=kind.id)
    schema, fresh = db.write(lambda tx: blocks.create_schema(tx, of_kind))
    again, second = db.write(lambda tx: blocks.create_schema(tx, of_kind))
    assert (fresh, second, again.id) == (True, False, schema.id)
    assert db.read(lambda tx: blocks.schema_by_checksum(tx, schema.checksum, None)).id == schema.id
    by_kind = BlockSchemaFilter(block_type_id=IdCondition(any_=[kind.id]))
    assert len(db.read(lambda tx: blocks.query_schemas(tx, BlockSchemaQuery(block_schemas=by_kind)))) == 1
    slug = BlockTypeFilter(slug=TextCondition(any_=["s"]))
    assert len(db.read(lambda tx: blocks.query_types(tx, BlockTypeQuery(block_types=slug)))) == 1

    def keep(value: Any, **fields: Any) -> BlockDocument:
        named = {"name": f"d{next(numbers)}", **fields}
        body = BlockDocumentCreate(
            data={"value": value, "n": 1}, block_schema_id=schema.id, block_type_id=kind.id, **named
        )
        return db.write(lambda tx: block_documents.create(tx, vault, body))

    kept = {keep(value).id: value for value in VALUES}
    anonymous = keep("canary", name=None, is_anonymous=True)
    assert anonymous.is_anonymous
    with pytest.raises(Conflict):
        keep(1, name="d0")
    for sort in BlockDocumentSort:
        query = BlockDocumentQuery(block_types=slug, include_secrets=True, sort=sort)
        found = db.read(lambda tx, query=query: block_documents.query(tx, vault, query))  # type: ignore[misc]
        assert {one.id: one.data["value"] for one in found} == kept
    masked = db.read(lambda tx: block_documents.of_type(tx, vault, "s"))
    assert {one.data["value"] for one in masked} == {"********", None}
    assert db.read(lambda tx: block_documents.count(tx, BlockDocumentCount())) == len(VALUES)
    by_name = BlockDocumentCount(block_documents=BlockDocumentFilter(name=TextCondition(like_="d1")))
    assert db.read(lambda tx: block_documents.count(tx, by_name)) == 1
    one = db.read(lambda tx: block_documents.by_name(tx, vault, "s", "d5"))
    db.write(lambda tx: block_documents.update(tx, vault, one.id, BlockDocumentUpdate(data={"value": "new"})))
    full = db.read(lambda tx: block_documents.read(tx, vault, one.id, include_secrets=True))
    assert full.data == {"value": "new", "n": 1}
    other = Vault(tmp_path / "other", SecretStr(Vault.fresh_key()))
    with pytest.raises(Conflict):
        db.read(lambda tx: block_documents.read(tx, other, one.id, include_secrets=True))
    db.write(lambda tx: block_documents.delete(tx, vault, one.id))
    db.write(lambda tx: blocks.delete_type(tx, kind.id))
    assert db.read(lambda tx: block_documents.count(tx, BlockDocumentCount())) == 0
