"""In a kernel: the secrets of the process are taken out of every output before it leaves."""

from __future__ import annotations

from typing import Any

from IPython.core.getipython import get_ipython

from millrace.engine import secrecy

_OUTPUTS = frozenset(
    {
        "stream",
        "display_data",
        "update_display_data",
        "execute_result",
        "error",
        "execute_reply",
        "inspect_reply",
        "comm_open",
        "comm_msg",
    }
)


def mask_kernel() -> None:
    """From now on the kernel of this process sends no secret; without a kernel this does nothing."""
    session = getattr(getattr(get_ipython(), "kernel", None), "session", None)
    if session is None or getattr(session, "_millrace_masked", False):
        return
    send = session.send

    def masked_send(stream: Any, msg_or_type: Any, content: Any = None, *args: Any, **options: Any) -> Any:
        whole = isinstance(msg_or_type, dict)
        kind = msg_or_type["header"]["msg_type"] if whole else msg_or_type
        if kind in _OUTPUTS and whole:
            msg_or_type = {**msg_or_type, "content": _without_secrets(kind, msg_or_type["content"])}
        elif kind in _OUTPUTS:
            content = _without_secrets(kind, content)
        return send(stream, msg_or_type, content, *args, **options)

    object.__setattr__(session, "send", masked_send)
    object.__setattr__(session, "_millrace_masked", True)


def _without_secrets(kind: str, content: Any) -> Any:
    if kind.startswith("comm_") and isinstance(content, dict):  # the ids of widgets stay what they are
        return {**content, "data": secrecy.masked_value(content.get("data"))}
    return secrecy.masked_value(content)
