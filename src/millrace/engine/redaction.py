"""Secret values are taken out of everything a run writes, also when they are escaped, encoded or come in two pieces."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "********"
# Base64 pieces shorter than this would hit innocent text.
_SHORTEST_PIECE = 8


def _base64_pieces(value: bytes) -> set[str]:
    """What base64 makes of a value wherever it stands in a longer text: one stable middle for each of three offsets."""
    found: set[str] = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found.add(encode(value).decode().rstrip("="))
        for offset in range(3):
            encoded = encode(b"\0" * offset + value).decode()
            first = -(-offset * 8 // 6)  # characters that also depend on what stands before
            found.add(encoded[first : (offset + len(value)) * 8 // 6])
    return {piece for piece in found if len(piece) >= _SHORTEST_PIECE}


def variants(value: str) -> set[str]:
    """A value as it may appear in outputs: plain, in a repr, in JSON, in HTML, in a URL, in base64, in hexadecimal.

    Args:
        value: the secret.
    """
    raw = value.encode("utf-8", "surrogatepass")
    found = {value, value.strip(), repr(value)[1:-1], repr(raw)[2:-1], ascii(value)[1:-1]}
    found |= {json.dumps(value)[1:-1], json.dumps(value, ensure_ascii=False)[1:-1]}
    # A repr inside JSON or inside another repr, as in the traceback of an error that shows a dict.
    found |= {json.dumps(repr(value)[1:-1])[1:-1], repr(json.dumps(value)[1:-1])[1:-1]}
    found |= {html.escape(value), html.escape(value, quote=False), html.escape(repr(value)[1:-1])}
    found |= {quote(raw), quote(raw, safe=""), quote_plus(raw)}
    found |= {raw.hex(), raw.hex().upper()}
    found |= _base64_pieces(raw)
    return {one for one in found if one}


class Redactor:
    """Replaces secret values in texts and in JSON.

    Args:
        values: the secrets.

    Example:
        >>> Redactor(["hunter22"]).text("pw=hunter22")
        'pw=********'
    """

    def __init__(self, values: Iterable[str] = ()) -> None:
        found = {one for value in values if value for one in variants(value)}
        # The longest first, so that no part of a longer form is left standing.
        self._forms = sorted(found, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, self._forms))) if self._forms else None

    def __bool__(self) -> bool:
        return self._pattern is not None

    def text(self, text: str) -> str:
        """A text without the secrets.

        Args:
            text: any text.
        """
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """A JSON value whose texts, keys included, hold no secret. Lists of lines are read as the text they make up.

        Args:
            value: any JSON value; it is not changed.
        """
        if self._pattern is None:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(key) if isinstance(key, str) else key: self.value(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return self._lines([self.value(item) for item in value])
        return value

    def _lines(self, items: list[Any]) -> list[Any]:
        # A secret of several lines, such as a key, may lie across the items of a traceback.
        if len(items) < 2 or not all(isinstance(item, str) for item in items):
            return items
        for glue in ("", "\n"):
            joined = glue.join(items)
            if self.text(joined) != joined:
                return [self.text(joined)]
        return items

    def kept_back(self, text: str) -> int:
        """How many characters at the end of a text may be the beginning of a secret.

        Args:
            text: the text so far, already redacted.
        """
        kept = 0
        for form in self._forms:
            at = text.find(form[0], max(0, len(text) - len(form) + 1))
            while at != -1 and not form.startswith(text[at:]):
                at = text.find(form[0], at + 1)
            if at != -1:
                kept = max(kept, len(text) - at)
        return kept


class StreamRedaction:
    """A text that comes in pieces: the end that may be half a secret waits for the next piece.

    Args:
        redactor: what to take out.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, piece: str) -> str:
        """What can be shown now.

        Args:
            piece: the next piece.
        """
        if not self._redactor:
            return piece
        text = self._redactor.text(self._held + piece)
        held = self._redactor.kept_back(text)
        self._held = text[len(text) - held :] if held else ""
        return text[: len(text) - held]

    def flush(self) -> str:
        """What was held back, when no further piece comes."""
        held, self._held = self._held, ""
        return held
