"""`follow` and `afollow`: what happens to a run, as it happens."""

from __future__ import annotations

from millrace.client.following import afollow
from millrace.client.stream import Message
from millrace.client.watching import follow

__all__ = ["Message", "afollow", "follow"]
