"""Makes the synchronous client from the asynchronous one: `python scripts/generate_client.py [--check]`.

The source is read word by word, docstrings and comments too, so that the async file is all there is to edit.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

CLIENT = Path(__file__).resolve().parent.parent / "src" / "millrace" / "client"
PAIRS = {
    "connection.py": "blocking.py",
    "concurrency.py": "plain_concurrency.py",
    "workplaces.py": "plain_workplaces.py",
    "keepsakes.py": "plain_keepsakes.py",
    "reactions.py": "plain_reactions.py",
    "asynchronous.py": "synchronous.py",
    "following.py": "watching.py",
}
NOTICE = "# Generated from {source} by scripts/generate_client.py: change that file, then run the script.\n"

DROPPED = {"async", "await"}
WORDS = {
    "AsyncClient": "Client",
    "AsyncConnection": "Connection",
    "AsyncHTTPTransport": "HTTPTransport",
    "AsyncIterator": "Iterator",
    "AsyncLimits": "Limits",
    "AsyncPool": "Pool",
    "AsyncKeepsakes": "Keepsakes",
    "AsyncReactions": "Reactions",
    "AsyncWorkplaces": "Workplaces",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "_aask": "_ask",
    "_alisten": "_listen",
    "_alog_lines": "_log_lines",
    "_atask_runs": "_task_runs",
    "_acells": "_cells",
    "afollow": "follow",
    "alines": "lines",
    "aread": "read",
    "asynccontextmanager": "contextmanager",
    "asyncio": "time",
    "concurrency": "plain_concurrency",
    "connection": "blocking",
    "asynchronous": "synchronous",
    "task_mark": "thread_mark",
    "keepsakes": "plain_keepsakes",
    "reactions": "plain_reactions",
    "workplaces": "plain_workplaces",
}
PROSE = [
    (r"Written by hand; `\w+\.py` is made from it by `scripts/generate_client\.py`\.\n\n?", ""),
    (r"A client for `await`", "A client for plain calls"),
    (r"Safe for many tasks of one event loop; used in another loop or after a fork", "Safe for threads; after a fork"),
]


def plain(source: str) -> str:
    """The source without its colour."""
    out: list[str] = []
    at = (1, 0)
    lines = source.splitlines(keepends=True)
    drop_space = False
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER, tokenize.NEWLINE, tokenize.NL):
            if token.type in (tokenize.NEWLINE, tokenize.NL):
                out.append(_between(lines, at, token.start) + token.string)
                at = token.end
            continue
        gap = _between(lines, at, token.start)
        out.append("" if drop_space else gap)
        at, drop_space = token.end, False
        if token.type == tokenize.NAME and token.string in DROPPED:
            drop_space = True
        elif token.type == tokenize.NAME:
            out.append(WORDS.get(token.string, token.string))
        elif token.type in (tokenize.STRING, tokenize.COMMENT) and not token.string.startswith(('"__', "'__")):
            out.append(_prose(token.string))
        else:
            out.append(token.string)
    return "".join(out)


def _between(lines: list[str], start: tuple[int, int], end: tuple[int, int]) -> str:
    if start[0] == end[0]:
        return lines[start[0] - 1][start[1] : end[1]]
    return lines[start[0] - 1][start[1] :] + "".join(lines[start[0] : end[0] - 1]) + lines[end[0] - 1][: end[1]]


def _prose(text: str) -> str:
    if not text.startswith(('"""', "#")):
        return text
    for pattern, replacement in PROSE:
        text = re.sub(pattern, replacement, text)
    text = re.sub(r"\b(async (?=with|for|def)|await (?=\w))", "", text)
    for word, replacement in WORDS.items():
        if word not in ("concurrency", "connection", "asyncio"):
            text = re.sub(rf"\b{word}\b", replacement, text)
    return text


def generate(source: str, name: str) -> str:
    """The text of a generated file."""
    text = NOTICE.format(source=name) + plain(source)
    for command in (["check", "--fix", "--quiet", "--select", "I,F401,F811"], ["format", "--quiet"]):
        text = subprocess.run(
            [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(CLIENT / PAIRS[name]), "-"],
            input=text,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    return text


def main() -> int:
    """Writes the files, or with --check says which are out of date."""
    stale = []
    for source, target in PAIRS.items():
        text = generate((CLIENT / source).read_text(), source)
        path = CLIENT / target
        if path.exists() and path.read_text() == text:
            continue
        stale.append(target)
        if "--check" not in sys.argv:
            path.write_text(text)
    if "--check" in sys.argv and stale:
        print(f"out of date: {', '.join(stale)}; run scripts/generate_client.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
