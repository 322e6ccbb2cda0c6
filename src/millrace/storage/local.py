"""Code in a directory of the machine that runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millrace.errors import PullFailed

SET_DIRECTORY = "prefect.deployments.steps.set_working_directory"


class LocalStorage:
    """A directory of this machine, or one that every machine sees. Its code is not copied.

    Args:
        path: the directory.

    Example:
        >>> LocalStorage("/srv/flows").to_pull_step()
        {'prefect.deployments.steps.set_working_directory': {'directory': '/srv/flows'}}
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser().absolute()

    def __repr__(self) -> str:
        return f"LocalStorage({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, LocalStorage) and other.path == self.path

    def __hash__(self) -> int:
        return hash(self.path)

    def pull(self, to: Path) -> Path:
        """The directory itself.

        Raises:
            PullFailed: it is not there.
        """
        if not self.path.is_dir():
            raise PullFailed(f"The code is not here: there is no directory {self.path} on this machine.")
        return self.path

    def to_pull_step(self) -> dict[str, Any]:
        """The step that finds it where the deployment runs."""
        return {SET_DIRECTORY: {"directory": str(self.path)}}
