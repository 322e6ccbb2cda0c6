"""What is checked before a deployment is accepted: that code from cells loads in a clean process."""

from __future__ import annotations

from millrace import plugins
from millrace.deployments.source import Source

_passed: set[str] = set()


def require(code: Source) -> None:
    """Refuse code that would only fail later, on the worker. A version is checked once in a process.

    Args:
        code: the code; a script was run already and is not checked.

    Raises:
        PreflightFailed: it does not load; the message names the cell.
    """
    if not code.files or code.path is None or code.version in _passed:
        return
    check = plugins.load("millrace.notebooks.check:check_clean_process")
    check(code.path, code.entrypoint, files=code.files, origins=code.origins).require()
    if code.version:
        _passed.add(code.version)
