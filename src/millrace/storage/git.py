"""Code in a git repository.

Nothing that a user or a server gives becomes an option of git: schemes, names of branches and ids of commits are
checked, and `--end-of-options` stands before them. Hooks and `ext::` are off. A token goes to the host of the
repository only, in the environment of the git process: never into a command line, a URL, a file or a message.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from millrace.errors import InvalidInput, PullFailed
from millrace.storage.cache import cached, copied
from millrace.storage.gitcommand import Git
from millrace.storage.gitcredentials import GitCredentials
from millrace.storage.placeholders import as_placeholder

STEP = "prefect.deployments.steps.git_clone"
SCHEMES = ("https", "http", "ssh", "git", "file")
_COMMIT = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")
_REF = re.compile(r"(?!-)(?!.*(\.\.|//|@\{|\\))[^\x00-\x20~^:?*\[\x7f]+(?<!\.lock)(?<![./])")
_SCP = re.compile(r"(?!-)([\w.-]+@)?[\w.-]+:(?!//)[^-].*")


class GitRepository:
    """A git repository; runs get the newest commit of a branch, or one commit for ever.

    Each commit is fetched once a machine, without its history, and every run gets a copy of its own.

    Args:
        url: `https://…`, `ssh://…`, `git://…`, `file://…`, `user@host:path` or a directory.
        credentials: for a private repository: `{"access_token": …}`, with a `"username"` if the host wants one, or
            `{"ssh_key": "path of a private key"}`. A token may be a `Secret`, and has to be one to be deployed.
        name: of the directory that runs find the code in; that of the repository when not given.
        branch: a branch, or a tag; the default branch when not given.
        commit_sha: a whole commit id, instead of a branch.
        include_submodules: fetch its submodules too.
        pull_interval: taken for the sake of Prefect's users; every run asks for the newest commit.
        directories: fetch only these (a sparse checkout).
        tag: a tag; the same as giving its name as `branch`, but no branch of that name is taken.

    Raises:
        InvalidInput: one of them cannot be used.

    Example:
        >>> GitRepository("https://example.org/team/flows.git", branch="stable")
        GitRepository('https://example.org/team/flows.git', branch='stable')
    """

    def __init__(
        self,
        url: str,
        credentials: Any = None,
        name: str | None = None,
        branch: str | None = None,
        commit_sha: str | None = None,
        include_submodules: bool = False,
        pull_interval: int | None = 60,
        directories: list[str] | None = None,
        *,
        tag: str | None = None,
    ) -> None:
        if sum(one is not None for one in (branch, tag, commit_sha)) > 1:
            raise InvalidInput("Give one of branch, tag and commit_sha.")
        self.url, self.credentials = _parted(url, credentials)
        _check_url(self.url)
        for what, ref in (("branch", branch), ("tag", tag)):
            if ref is not None and not _REF.fullmatch(ref):
                raise InvalidInput(f"{ref!r} cannot be the name of a {what}.")
        if commit_sha is not None and not _COMMIT.fullmatch(commit_sha.lower()):
            raise InvalidInput(
                f"{commit_sha!r} is no commit id: it has 40 (or 64) hexadecimal digits. Branches and tags are branch=…"
            )
        self.branch, self.tag = branch, tag
        self.commit_sha = commit_sha.lower() if commit_sha else None
        self.include_submodules = include_submodules
        self.pull_interval = pull_interval
        self.directories = [_directory(one) for one in directories or []]
        self.name = _directory(name) if name else self._own_name()

    def _own_name(self) -> str:
        stem = re.split(r"[/:]", self.url.rstrip("/"))[-1].removesuffix(".git") or "repository"
        ref = self.branch or self.tag
        return f"{stem}-{ref.replace('/', '-')}" if ref else stem

    def __repr__(self) -> str:
        said = [
            f"{name}={value!r}"
            for name in ("branch", "tag", "commit_sha", "include_submodules", "directories")
            if (value := getattr(self, name))
        ]
        return f"GitRepository({', '.join([repr(self.url), *said])})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GitRepository) and repr(other) == repr(self) and other.name == self.name

    def __hash__(self) -> int:
        return hash(repr(self))

    # -- pulling

    def pull(self, to: Path) -> Path:
        """Fetches the commit, unless it was fetched before, and copies it.

        Args:
            to: the directory to make the copy in.

        Returns:
            The directory of the code, below `to`.

        Raises:
            PullFailed: the repository or the branch is not there, nobody answers, or the credentials do not open it.
            PluginMissing: git is not installed.
        """
        return copied(self.fetched(), to / self.name)

    def fetched(self) -> Path:
        """The folder of the commit in the cache of this machine; not to be written to."""
        git = Git(self.url, self.credentials)
        commit = self.commit_sha or self._newest(git)
        key = [self.url, commit, self.include_submodules, self.directories]
        return cached("git", key, lambda place: self._fetch(git, commit, place))

    def _newest(self, git: Git) -> str:
        wanted = {
            "HEAD": not (self.branch or self.tag),
            f"refs/heads/{self.branch}": bool(self.branch),
            f"refs/tags/{self.branch or self.tag}^{{}}": bool(self.branch or self.tag),
            f"refs/tags/{self.branch or self.tag}": bool(self.branch or self.tag),
        }
        listed = git.run("ls-remote", "--quiet", "--end-of-options", self.url)
        refs = {ref: commit for commit, _, ref in (line.partition("\t") for line in listed.splitlines())}
        for ref in (ref for ref, yes in wanted.items() if yes):
            if commit := refs.get(ref):
                return commit
        known = sorted(ref.partition("/")[2].partition("/")[2] for ref in refs if ref.startswith("refs/heads/"))
        if not (self.branch or self.tag):
            if not known:
                raise PullFailed(f"The repository {self.url} is empty: nothing was pushed to it yet.")
            raise PullFailed(
                f"The repository {self.url} has no default branch: its HEAD is none of its branches "
                f"({', '.join(known[:10])}). Name one with branch={known[0]!r}, or make it the default there: "
                f"git symbolic-ref HEAD refs/heads/{known[0]}"
            )
        raise PullFailed(
            f"The repository {self.url} has no {'branch or tag' if self.branch else 'tag'} "
            f"{self.branch or self.tag!r}. Its branches: {', '.join(known[:10]) or 'none'}."
        )

    def _fetch(self, git: Git, commit: str, place: Path) -> None:
        git.run("init", "--quiet", "--template=", at=place)
        git.run("remote", "add", "origin", self.url, at=place)
        fetch = ["fetch", "--quiet", "--no-tags"]
        sparse = ["--filter=blob:none"] if self.directories else []
        try:
            git.run(*fetch, "--depth=1", *sparse, "--end-of-options", "origin", commit, at=place)
        except PullFailed:
            # some servers give whole branches only
            git.run("fetch", "--quiet", "--tags", "--end-of-options", "origin", at=place)
        if self.directories:
            git.run("sparse-checkout", "set", "--no-cone", "--stdin", at=place, given="\n".join(self._patterns()))
        try:
            git.run("checkout", "--quiet", "--detach", commit, at=place)
        except PullFailed as error:
            raise PullFailed(f"The repository {self.url} has no commit {commit}. {error}") from None
        if absent := [one for one in self.directories if not (place / one).is_dir()]:
            raise PullFailed(f"The repository {self.url} has no directory {absent[0]!r} at {commit[:12]}.")
        if self.include_submodules:
            git.run("submodule", "--quiet", "update", "--init", "--recursive", "--depth=1", at=place)

    def _patterns(self) -> list[str]:
        return ["/" + re.sub(r"([*?!#[\\])", r"\\\1", one) + "/" for one in self.directories]

    # -- for the wire

    def to_pull_step(self) -> dict[str, Any]:
        """The step that does the same where the deployment runs.

        Raises:
            InvalidInput: a token is given as a text, which would be stored for all to read.
        """
        step: dict[str, Any] = {"repository": self.url}
        default = GitRepository(self.url).name
        given = {
            "branch": self.branch or self.tag,
            "commit_sha": self.commit_sha,
            "include_submodules": self.include_submodules or None,
            "directories": self.directories or None,
            "clone_directory_name": self.name if self.name not in (default, self._own_name()) else None,
        }
        step |= {name: value for name, value in given.items() if value is not None}
        if self.credentials is not None:
            step["credentials"] = {
                name: as_placeholder(value, "the access token of a git repository") if name == "access_token" else value
                for name, value in self.credentials.given.items()
            }
        return {STEP: step}


def _parted(url: str, credentials: Any) -> tuple[str, GitCredentials | None]:
    """The URL without what it says of user and token, and the credentials."""
    if not isinstance(url, str) or not url.strip() or url != url.strip():
        raise InvalidInput(f"{url!r} is no URL of a git repository.")
    given = GitCredentials.of(credentials)
    if url.startswith(("./", "../", "~")) or url in (".", ".."):
        url = str(Path(url).expanduser().absolute())
    parts = urlsplit(url) if "://" in url else None
    if parts is not None and parts.scheme in ("http", "https") and "@" in parts.netloc:
        user, _, token = parts.netloc.rpartition("@")[0].partition(":")
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        if given is None:
            own = {"username": user, "access_token": token} if token else {"access_token": user}
            given = GitCredentials.of(own)
    return url, given


def _check_url(url: str) -> None:
    if "::" in url.partition("/")[0]:
        raise InvalidInput(f"{url!r}: transports such as ext:: are not used. Use one of {', '.join(SCHEMES)}.")
    scheme, mark, _ = url.partition("://")
    if mark and scheme.lower() not in SCHEMES:
        raise InvalidInput(f"{url!r}: the scheme {scheme!r} is not one of {', '.join(SCHEMES)}.")
    if mark and urlsplit(url).netloc.startswith("-"):
        raise InvalidInput(f"{url!r}: a host cannot begin with '-'.")
    if not mark and not _SCP.fullmatch(url) and not url.startswith("/"):
        raise InvalidInput(f"{url!r} is no git repository. Write https://…, ssh://…, user@host:path or a path.")
    if any(ord(character) < 0x20 for character in url):
        raise InvalidInput(f"{url!r} holds control characters.")


def _directory(text: str) -> str:
    path = PurePosixPath(text)
    bad = path.is_absolute() or ".." in path.parts or not path.parts or text.startswith("-") or "\n" in text
    if bad or path.parts[0] == ".git":
        raise InvalidInput(f"{text!r} is no directory below the repository's.")
    return str(path)
