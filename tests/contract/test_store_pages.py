"""Pages of runs on every database."""

from __future__ import annotations

from uuid import uuid4

import made
import pytest

from millrace.errors import NotFound
from millrace.schema.pages import RunPage
from millrace.store import flow_runs, pages
from millrace.store.database import Database


def test_the_last_page_of_a_run_is_kept_as_long_as_the_run(db: Database) -> None:
    made.pool(db)
    run = made.run(db, made.deployment(db, made.flow(db).id).id)
    assert db.read(lambda tx: pages.find(tx, run.id)) is None
    large, small = RunPage(place="m:/p", size=2**33), RunPage(place="n:/q", size=9, text="<h1>Größe</h1>")
    db.write(lambda tx: pages.keep(tx, run.id, large))
    assert db.read(lambda tx: pages.read(tx, run.id)) == large
    db.write(lambda tx: pages.keep(tx, run.id, small))
    found = db.read(lambda tx: pages.read(tx, run.id))
    assert (found.place, found.size, found.text) == ("n:/q", 9, "<h1>Größe</h1>")
    db.write(lambda tx: flow_runs.delete(tx, run.id))
    with pytest.raises(NotFound, match="No page is kept"):
        db.read(lambda tx: pages.read(tx, run.id))
    with pytest.raises(NotFound, match="flow run"):
        db.write(lambda tx: pages.keep(tx, uuid4(), small))
