"""The one place that starts git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from millrace.errors import PluginMissing, PullFailed
from millrace.storage.gitcredentials import GitCredentials

_OPTIONS = (
    *("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "protocol.ext.allow=never"),
    *("-c", "advice.detachedHead=false", "-c", "gc.auto=0", "-c", "init.defaultBranch=main"),
)
# of a git that started us, such as a hook
_INHERITED = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR", "GIT_PREFIX")
_REFUSED = "The token was refused: is it right and not expired, and may it read this repository?"
_HINTS = (
    ("Authentication failed", _REFUSED),
    ("could not read Username", "It is private: give credentials={'access_token': Secret.load(…)}."),
    ("HOST IDENTIFICATION HAS CHANGED", "Its host key is not the one that is known: see ssh-keygen -R."),
    ("Host key verification failed", "Its host key is not known: see ssh-keyscan."),
    ("Permission denied", "Does the key or the user have access?"),
    ("not found", "Is the URL right, and do you have access?"),
    ("does not appear to be a git repository", "Is the path right?"),
    ("Could not resolve host", "Does this machine reach that host?"),
    ("Failed to connect", "Does this machine reach that host?"),
    ("Connection refused", "Does this machine reach that host?"),
    ("dubious ownership", "It belongs to another user: see safe.directory in git's documentation."),
)


class Git:
    """Git commands about one repository elsewhere.

    Args:
        url: of the repository, without credentials.
        credentials: what opens it.
    """

    def __init__(self, url: str, credentials: GitCredentials | None) -> None:
        self.url = url
        self._secret = credentials.token if credentials else None
        local = "://" not in url and ":" not in url.partition("/")[0]
        protocols = "https:http:ssh:git" + (":file" if local or url.startswith("file://") else "")
        self._env = {name: value for name, value in os.environ.items() if name not in _INHERITED} | {
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ALLOW_PROTOCOL": protocols,  # of submodules too, whose URLs come from the repository
            "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
            "GIT_HTTP_LOW_SPEED_TIME": "60",
            "LC_ALL": "C",
        }
        if "GIT_SSH_COMMAND" not in os.environ:
            self._env["GIT_SSH_COMMAND"] = "ssh -o BatchMode=yes -o ConnectTimeout=30"
        if credentials is not None:
            self._env |= credentials.environment(url)

    def run(self, *arguments: str, at: Path | None = None, given: str | None = None) -> str:
        """What a command prints.

        Args:
            arguments: the command and its arguments.
            at: the directory it works in.
            given: what it reads from its standard input.

        Raises:
            PullFailed: it failed; the message says why, without the token.
            PluginMissing: there is no git.
        """
        program = shutil.which("git")
        if program is None:
            raise PluginMissing("Code in git repositories needs the program git, which is not installed here.")
        done = subprocess.run(
            [program, *_OPTIONS, *arguments],
            cwd=at,
            env=self._env,
            input=given or "",
            capture_output=True,
            text=True,
            errors="replace",
        )
        if done.returncode == 0:
            return done.stdout
        said = self._masked(done.stderr.strip() or f"git exited with {done.returncode}")
        sign, hint = next((pair for pair in _HINTS if pair[0].lower() in said.lower()), ("fatal:", ""))
        if self._secret and sign == "could not read Username":  # git would ask for another one
            hint = _REFUSED
        lines = said.splitlines()
        reason = next((line for line in lines if sign.lower() in line.lower()), lines[-1])
        others = "".join(f"\n{line}" for line in lines if line != reason)
        raise PullFailed(f"git {arguments[0]} of {self.url} failed: {reason.rstrip('.')}. {hint}".rstrip() + others)

    def _masked(self, text: str) -> str:
        return text.replace(self._secret, "********") if self._secret else text
