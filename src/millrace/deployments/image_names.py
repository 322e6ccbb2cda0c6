"""Names of images: `registry.example.org:5000/team/flows:2026-05`, taken apart and put together."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from millrace.errors import InvalidInput

_COMPONENT = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_LONGEST = 255


def split_tag(name: str) -> tuple[str, str | None]:
    """A name without its tag, and the tag.

    Args:
        name: as a user writes it. The port of a registry is no tag.

    Raises:
        InvalidInput: it is the name of no image, or holds a digest.

    Example:
        >>> split_tag("localhost:5000/team/flows:v1")
        ('localhost:5000/team/flows', 'v1')
        >>> split_tag("localhost:5000/team/flows")
        ('localhost:5000/team/flows', None)
    """
    if "@" in name:
        raise InvalidInput(
            f"{name!r} names an image by its digest, which only an image that was built has. Give a name and a tag, or "
            "build=False to use that very image."
        )
    before, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    repository = f"{before}{slash}{last}"
    checked_repository(repository, name)
    if not colon:
        return repository, None
    return repository, checked_tag(tag, name)


def checked_repository(repository: str, name: str | None = None) -> str:
    """A name without a tag that an engine accepts.

    Args:
        repository: host, if any, and path.
        name: the whole of what was written, for the message.

    Raises:
        InvalidInput: no image can have it.
    """
    host, path = split_host(repository)
    wrong = next((part for part in path.split("/") if not _COMPONENT.fullmatch(part)), None)
    if wrong is not None:
        lower = " Names are written in lower case." if wrong != wrong.lower() else ""
        raise InvalidInput(
            f"{name or repository!r} cannot be the name of an image: {wrong!r} is no part of one.{lower}"
        )
    if host is not None and not _HOST.fullmatch(host):
        raise InvalidInput(f"{name or repository!r} cannot be the name of an image: {host!r} is no host.")
    if len(repository) > _LONGEST:
        raise InvalidInput(f"The name of an image has at most {_LONGEST} characters; {repository[:40]!r}… has more.")
    return repository


def checked_tag(tag: str, name: str | None = None) -> str:
    """A tag that an engine accepts.

    Args:
        tag: the tag.
        name: the whole of what was written, for the message.

    Raises:
        InvalidInput: it is none.
    """
    if not _TAG.fullmatch(tag):
        raise InvalidInput(
            f"{tag!r}{f' in {name!r}' if name else ''} cannot be the tag of an image: it has at most 128 letters, "
            "digits, '_', '.' and '-', and does not begin with '.' or '-'."
        )
    return tag


def split_host(repository: str) -> tuple[str | None, str]:
    """The registry's host and the path in it.

    Args:
        repository: a name without a tag.

    Example:
        >>> split_host("registry.example.org/team/flows")
        ('registry.example.org', 'team/flows')
        >>> split_host("team/flows")
        (None, 'team/flows')
    """
    first, slash, rest = repository.partition("/")
    is_host = bool(slash) and ("." in first or ":" in first or first == "localhost" or first != first.lower())
    return (first, rest) if is_host else (None, repository)


def in_namespace(repository: str, namespace: str | None) -> str:
    """A name within a namespace, where it has none itself.

    Args:
        repository: a name without a tag.
        namespace: such as `registry.example.org/team`.

    Raises:
        InvalidInput: the namespace cannot be one.
    """
    if "/" in repository or not namespace:
        return repository
    return checked_repository(f"{namespace.strip('/')}/{repository}")


def tag_of_now(now: datetime | None = None) -> str:
    """A tag for an image that was given none: the time, in UTC.

    Args:
        now: another time.

    Example:
        >>> tag_of_now(datetime(2026, 5, 1, 12, 0, 0, 5, tzinfo=UTC))
        '2026-05-01t12-00-00-000005-00-00'
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="microseconds")
    return re.sub(r"[^a-z0-9]+", "-", moment.lower()).strip("-")
