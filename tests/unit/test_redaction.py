"""Secrets are found escaped, encoded and in pieces."""

from __future__ import annotations

import base64
import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.engine.redaction import MASK, Redactor, StreamRedaction
from millrace.notebooks.output_stream import OutputStream, collapsed

SECRET = "p\"ä\\ss wo<rd'1\nline two"


@pytest.mark.parametrize(
    "shown",
    [
        SECRET,
        repr(SECRET),
        repr({"k": [SECRET]}),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        json.dumps(repr(SECRET)),
        html.escape(SECRET),
        html.escape(SECRET, quote=False),
        quote(SECRET),
        quote_plus(SECRET),
        SECRET.encode().hex(),
        repr(SECRET.encode()),
        *(base64.b64encode(b"x" * n + SECRET.encode() + b"y" * m).decode() for n in range(4) for m in range(3)),
    ],
)
def test_forms(shown: str) -> None:
    assert MASK in Redactor([SECRET]).text(shown)


def test_structures() -> None:
    redactor = Redactor([SECRET])
    assert redactor.value({"a": [SECRET, 1, None], SECRET: {"b": f"x{SECRET}"}}) == {
        "a": [MASK, 1, None],
        MASK: {"b": f"x{MASK}"},
    }
    # A traceback's lines are one text.
    assert SECRET.split("\n")[1] not in "".join(redactor.value(["before", *SECRET.split("\n"), "after"]))
    assert not Redactor() and Redactor().text("x") == "x"


@given(st.lists(st.sampled_from(["canary-01", "can", "ary", "-0", "x", "\n", "canary-"]), max_size=12), st.data())
def test_pieces(words: list[str], data: st.DataObject) -> None:
    redactor = Redactor(["canary-01"])
    text = "".join(words)
    stream, shown, at = StreamRedaction(redactor), "", 0
    while at < len(text):
        size = data.draw(st.integers(1, 6))
        shown += stream.feed(text[at : at + size])
        assert "canary-01" not in shown
        at += size
    shown += stream.flush()
    assert shown == redactor.text(text)


def test_a_stream_is_merged_limited_and_says_what_was_cut() -> None:
    outputs: list[dict[str, str]] = []
    stream = OutputStream(Redactor(), 10)
    for piece in ("abc", "def"):
        stream.write(outputs, "stdout", piece)
    stream.write(outputs, "stderr", "ghijkl")
    note = stream.finish(outputs)
    assert [(o["name"], o["text"]) for o in outputs][:2] == [("stdout", "abcdef"), ("stderr", "ghij")]
    assert outputs[2]["text"] == note and "cut after 10 bytes; 2 more" in note


@pytest.mark.parametrize(
    ("written", "seen"), [("1%\r50%\r100%\n", "100%\n"), ("a\r\nb", "a\nb"), ("a\rb\r", "b"), ("plain", "plain")]
)
def test_carriage_returns(written: str, seen: str) -> None:
    assert collapsed(written) == seen
