"""YAML read with the line of every value: the documents of a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from millrace.errors import SpecError

Path = tuple[str | int, ...]
"""Where a value stands in a document: the keys and numbers that lead to it."""

_MERGE = "tag:yaml.org,2002:merge"
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_LARGEST = 50_000


class _Loader(yaml.SafeLoader):
    """Safe: it makes plain values only. A moment stays the text that it is, as it is on the wire."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


@dataclass
class Document:
    """One document of a file.

    Args:
        file: the file, as the user named it.
        value: what it says.
        lines: the line of each value, from 1.
        shared: the keys of its first level that other parts refer to by an alias.
    """

    file: str
    value: Any
    lines: dict[Path, int]
    shared: frozenset[str] = field(default=frozenset())

    def line(self, path: Path) -> int:
        """The line of a value, or of the nearest one around it.

        Args:
            path: where it stands.
        """
        while path not in self.lines:
            path = path[:-1]
        return self.lines[path]

    def error(self, message: str, path: Path = ()) -> SpecError:
        """An error that names file and line.

        Args:
            message: what is wrong and the remedy.
            path: where.
        """
        return SpecError(message, self.file, self.line(path))


def documents(text: str, file: str) -> list[Document]:
    """The documents of a YAML text; empty ones are left out.

    Args:
        text: the text.
        file: where it is from, for messages.

    Raises:
        SpecError: it is no YAML, a key stands there twice, or a value has a type that YAML alone cannot make.
    """
    loader = _Loader(text)
    try:
        found = []
        while loader.check_node():
            node = loader.get_node()
            _distinct(node, file)
            value = loader.construct_document(node)
            places = _Places(file, node)
            if value is not None:
                found.append(Document(file, value, places.lines, frozenset(places.shared)))
        return found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(str(part) for part in (error.context, error.problem) if part)
        raise SpecError(f"This is no YAML that can be used here: {said}.", file, mark.line + 1 if mark else 1) from None
    except yaml.YAMLError as error:
        raise SpecError(f"This is no YAML: {error}.", file, 1) from None
    finally:
        loader.dispose()


def _distinct(root: Any, file: str) -> None:
    """Refuses keys that stand twice in one mapping, values that hold themselves, and files that unfold without end."""
    done: set[int] = set()

    def visit(node: Any, around: frozenset[int]) -> None:
        if id(node) in around:
            raise SpecError("A value holds itself by an alias.", file, node.start_mark.line + 1)
        if id(node) in done:
            return
        done.add(id(node))
        inside = around | {id(node)}
        if isinstance(node, yaml.SequenceNode):
            for one in node.value:
                visit(one, inside)
        elif isinstance(node, yaml.MappingNode):
            seen: dict[Any, int] = {}
            for key, value in node.value:
                if key.tag != _MERGE and isinstance(key, yaml.ScalarNode):
                    line = key.start_mark.line + 1
                    if key.value in seen:
                        raise SpecError(
                            f"The key {key.value!r} stands here and in line {seen[key.value]}. Keep one of them.",
                            file,
                            line,
                        )
                    seen[key.value] = line
                visit(value, inside)

    visit(root, frozenset())


class _Places:
    """The line of every value of a document, and which of its parts are shared."""

    def __init__(self, file: str, root: Any) -> None:
        self.lines: dict[Path, int] = {(): root.start_mark.line + 1}
        self.shared: set[str] = set()
        self._owners: dict[int, str] = {}
        self._file = file
        for path, line, node in self._walk(root, ()):
            self.lines[path] = line
            if len(self.lines) > _LARGEST:
                raise SpecError(f"Its aliases unfold to more than {_LARGEST} values.", file, 1)
            top = str(path[0])
            owner = self._owners.setdefault(id(node), top)
            if owner != top:
                self.shared.add(owner)

    def _walk(self, node: Any, path: Path) -> Iterator[tuple[Path, int, Any]]:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                here = (*path, str(key.value))
                yield here, key.start_mark.line + 1, value
                yield from self._walk(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for number, value in enumerate(node.value):
                here = (*path, number)
                yield here, value.start_mark.line + 1, value
                yield from self._walk(value, here)
