"""What artifacts hold, and how they look: nothing that comes from data becomes markup."""

from __future__ import annotations

import base64
import io
import json
import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from millrace.engine import artifact_data as data
from millrace.errors import InvalidInput
from millrace.jupyter import artifacts as looks
from millrace.jupyter.view import RunView
from millrace.schema.artifacts import Artifact
from millrace.schema.events import ReceivedEvent

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml;base64,PHN2Zz4=)",
    '[x](https://a.b/"onmouseover="alert(1))',
    "<a href='javascript:alert(1)'>x</a>",
    "[x][1]\n\n[1]: vbscript:alert(1)",
    "`<b>`",
    "```html\n<script>alert(1)</script>\n```",
    "|<i>|\n|-|\n|<svg onload=alert(1)>|",
]


def artifact(kind: str, content: Any, **fields: Any) -> Artifact:
    return Artifact(type=kind, data=content, **fields)


# -- data


def test_tables_of_all_forms() -> None:
    rows = [{"a": 1, "b": math.nan}, {"a": None, "b": date(2026, 1, 2)}]
    assert json.loads(data.table_text(rows)) == [{"a": 1, "b": None}, {"a": None, "b": "2026-01-02"}]
    assert json.loads(data.table_text({"a": [1, math.inf]})) == {"a": [1, "inf"]}
    assert json.loads(data.table_text([[1, "x"], (2, True)])) == [[1, "x"], [2, True]]
    for wrong in ("text", 5, {"a": 1}, ["a"]):
        with pytest.raises(InvalidInput, match="table artifact takes"):
            data.table_text(wrong)


def test_a_data_frame() -> None:
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    frame = pandas.DataFrame({"n": [1.5, math.nan], "when": [moment, pandas.NaT], 3: ["x", None]})
    first, second = json.loads(data.table_text(frame))
    assert first == {"n": 1.5, "when": "2026-01-02T00:00:00+00:00", "3": "x"}
    assert second == {"n": None, "when": None, "3": None}
    assert json.loads(data.table_text(pandas.DataFrame({"i": [1, 2]}))) == [{"i": 1}, {"i": 2}]


def test_images_from_everywhere(tmp_path: Path) -> None:
    url = data.image_url(PNG)
    assert url == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    (tmp_path / "a.png").write_bytes(PNG)
    assert data.image_url(tmp_path / "a.png") == data.image_url(str(tmp_path / "a.png")) == data.image_url(url) == url
    assert data.image_url("https://example.org/a.png") == "https://example.org/a.png"


def test_images_of_libraries() -> None:
    figure = Figure()
    figure.subplots().plot([1, 2])
    assert data.image_url(figure).startswith("data:image/png;base64,iVBOR")
    image = Image.new("RGB", (2, 2))
    assert data.image_url(image).startswith("data:image/png;base64,iVBOR")
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP")
    assert data.image_url(buffer.getvalue()).startswith("data:image/webp;base64,")


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"<svg/>", "takes PNG, JPEG, GIF or WebP"),
        (PNG + b"\0" * data.MAX_IMAGE_BYTES, "embeds at most 2,097,152"),
        ("no-such-file.png", "cannot be read"),
        ("javascript:alert(1)", "cannot be read"),
        ("data:text/html,x", "must be data:image/png"),
        (5, "not a int"),
    ],
)
def test_images_that_are_refused(image: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        data.image_url(image)


@pytest.mark.parametrize(("given", "kept"), [(50, 50.0), (-3, 0.0), (1000, 100.0), (0.5, 0.5)])
def test_progress_is_a_share_of_a_hundred(given: float, kept: float) -> None:
    assert data.progress_value(given) == kept


def test_progress_that_is_no_number() -> None:
    for wrong in (math.nan, "much", None):
        with pytest.raises(InvalidInput, match="number from 0 to 100"):
            data.progress_value(wrong)  # type: ignore[arg-type]


def test_keys() -> None:
    assert data.artifact_key(None) is None
    assert data.artifact_key("daily-2026") == "daily-2026"
    for wrong in ("Daily", "a b", "a_b", "ä"):
        with pytest.raises(InvalidInput, match="lowercase letters, digits and dashes"):
            data.artifact_key(wrong)


@pytest.mark.parametrize(
    ("link", "text"), [("https://e.org/a b(c)", "see [this]"), ("https://e.org", None), ("https://e.org", "x\\")]
)
def test_links_are_what_was_given(link: str, text: str | None) -> None:
    shown = looks.markup(looks.tree(artifact("markdown", data.link_text(link, text))))
    assert f">{text or link}</a>" in shown
    assert f'href="{link.replace(" ", "%20")}"' in shown


# -- looks


def nodes(tree: Any) -> Any:
    yield tree
    if isinstance(tree, list):
        for child in tree[2:]:
            yield from nodes(child)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("kind", ["markdown", "table", "image", "unknown", "progress"])
def test_hostile_content_stays_text(kind: str, text: str) -> None:
    one = artifact(kind, json.dumps([{text: text}]) if kind == "table" else text, description=text, key="k")
    for tree in (looks.tree(one), looks.description(one)):
        for node in nodes(tree):
            if isinstance(node, list):
                assert node[0] in looks.TAGS
                assert set(node[1]) <= {"href", "src", "alt", "progress"}
                assert node[1].get("href", "https://").startswith("https://")
                assert node[1].get("src", "https://").startswith("https://")
    whole = looks.artifact_card(one) + looks.section([one])
    for sign in ("<script", "<img src=x", "<svg", "<i>", "javascript:alert(1)'>", 'href="javascript', '"onmouse'):
        assert sign not in whole.replace('="onmouse', "")


@given(st.text(), st.sampled_from(["markdown", "table", "image", "progress", None]))
def test_any_text_gives_a_harmless_tree(text: str, kind: str | None) -> None:
    for node in nodes(looks.tree(Artifact(type=kind, data=text))):
        assert isinstance(node, str) or (node[0] in looks.TAGS and set(node[1]) <= {"href", "src", "alt", "progress"})


def test_markdown_is_rendered() -> None:
    text = "# Rows\n\n**bold** `code` [link](https://e.org)\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- one\n- two"
    shown = looks.markup(looks.tree(artifact("markdown", text)))
    for part in (
        "<h1>Rows</h1>",
        "<strong>bold</strong>",
        ">code</code>",
        'href="https://e.org"',
        "<li>one</li>",
    ):
        assert part in shown, shown
    assert "<table" in shown and ">2</td>" in shown


def test_large_tables_say_what_is_left_out() -> None:
    wide = [{f"c{i}": i for i in range(30)} for _ in range(200)]
    shown = looks.markup(looks.tree(artifact("table", json.dumps(wide))))
    assert "150 more rows and 10 more columns are not shown here" in shown
    assert shown.count("<tr") == looks.ROWS + 1


def test_a_progress_is_a_bar() -> None:
    shown = looks.artifact_card(artifact("progress", 42.5, key="load"))
    assert 'aria-valuenow="42.5"' in shown and "width:42.5%" in shown and "42.5 %" in shown
    assert looks.artifact_text(artifact("progress", 42.5, key="load")) == "<Artifact progress 'load' 42.5 %>"


# -- the monitor's knowledge


def told(id: Any, what: str, at: datetime, **payload: Any) -> ReceivedEvent:
    resource = {"prefect.resource.id": f"millrace.artifact.{id}"}
    return ReceivedEvent(event=f"millrace.artifact.{what}", resource=resource, payload=payload, occurred=at)


def test_a_view_knows_its_artifacts() -> None:
    view, start = RunView("r"), datetime(2026, 1, 1, tzinfo=UTC)
    first, second = uuid4(), uuid4()
    view.apply(told(first, "created", start, type="progress", data=1))
    assert view.unread == {first}
    made = artifact("progress", 1, id=first, created=start, updated=start)
    view.load_artifacts([made, artifact("markdown", "x", id=second, created=start + timedelta(1), updated=start)])
    assert not view.unread
    assert [one.id for one in view.latest_artifacts(5)] == [second, first]
    view.apply(told(first, "updated", start + timedelta(2), type="progress", data=60))
    view.apply(told(first, "updated", start + timedelta(1), type="progress", data=30))
    assert (view.artifacts[first].data, view.unread) == (60, set())
    view.apply(told(second, "updated", start, type="markdown"))
    assert view.unread == {second}
    view.load_artifacts([artifact("table", "[]", created=start - timedelta(n + 1)) for n in range(200)])
    assert len(view.artifacts) == 100
    assert first in view.artifacts
