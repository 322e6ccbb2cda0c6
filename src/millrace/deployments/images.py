"""Images of flows, made and pushed by a Docker Engine. Only this file and `workers/docker.py` use docker-py."""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, TextIO

from millrace import plugins, settings
from millrace.deployments import context as contexts
from millrace.deployments import environment, image_names
from millrace.deployments.context import Folder
from millrace.deployments.progress import Reading, Shown, shown
from millrace.deployments.source import Source
from millrace.engine.secrecy import masked
from millrace.errors import BuildFailed, InvalidInput, NoEngine, NotSupported, PushFailed
from millrace.storage.placeholders import plain

INSTALL = "pip install 'millrace[docker]'"
AUTO = "auto"
_OURS = frozenset({"path", "fileobj", "custom_context", "tag", "decode", "dockerfile", "encoding", "gzip"})
_SECRET_NAMES = ("token", "secret", "password", "passwd", "credential", "api_key", "apikey")
_LIVE: Any = object()


class DockerImage:
    """An image for deployments, and how it is built.

    Args:
        name: its name, such as `registry.example.org/team/flows` or `flows:v1`. One without a namespace gets that of
            the setting `default_docker_build_namespace`.
        tag: its tag; the time in UTC when neither this nor the name has one.
        dockerfile: a path below the context; "auto": it is written for the flows.
        stream_progress_to: write progress to this file; None: show nothing. Not given: terminals and
            notebooks show it.
        build_backend: only "docker-py".
        base_image: what the written Dockerfile begins with; that of the setting `docker_base_image` when not given.
        registry_credentials: `username` and `password`, where `docker login` was not done. Secrets are taken too.
        additional_tags: it gets these too, and they are pushed with it.
        build_kwargs: what docker-py's `api.build` takes: `buildargs`, `platform`, `nocache`, `pull`, `target` and so
            on; and `context`, the directory that is built from.

    Raises:
        InvalidInput: the name or the tag cannot be one, or there are two tags.

    Example:
        >>> DockerImage("registry.example.org:5000/team/flows:v1").reference
        'registry.example.org:5000/team/flows:v1'
    """

    def __init__(
        self,
        name: str,
        tag: str | None = None,
        dockerfile: str | Path = AUTO,
        stream_progress_to: TextIO | None = _LIVE,
        build_backend: str = "docker-py",
        *,
        base_image: str | None = None,
        registry_credentials: Mapping[str, Any] | None = None,
        additional_tags: Sequence[str] | None = None,
        **build_kwargs: Any,
    ) -> None:
        if build_backend != "docker-py":
            raise NotSupported(f"Images are built with docker-py, not with {build_backend!r}. Leave build_backend out.")
        repository, given = image_names.split_tag(name)
        if given and tag:
            raise InvalidInput(f"Only one tag can be given: {name!r} holds {given!r}, and tag is {tag!r}.")
        for one in [*([tag] if tag is not None else []), *(additional_tags or [])]:
            image_names.checked_tag(one)
        if refused := sorted(_OURS & set(build_kwargs)):
            raise InvalidInput(f"{', '.join(map(repr, refused))} of a build cannot be given: Millrace says it.")
        for argument, value in (build_kwargs.get("buildargs") or {}).items():
            if not isinstance(value, str):
                raise InvalidInput(f"The build argument {argument!r} must be a text; got {value!r}: write '{value}'.")
        namespace = settings.current().default_docker_build_namespace
        self.name = image_names.in_namespace(repository, namespace)
        self.tag = tag or given or image_names.tag_of_now()
        self.dockerfile = str(dockerfile)
        self.base_image = base_image
        self.registry_credentials = registry_credentials
        self.additional_tags = list(additional_tags or [])
        self.id: str | None = None  # of what was built
        self.build_kwargs = build_kwargs
        self._stream = stream_progress_to

    def __str__(self) -> str:
        return self.reference

    def __repr__(self) -> str:
        return f"DockerImage({self.reference!r})"

    @property
    def reference(self) -> str:
        """Name and tag."""
        return f"{self.name}:{self.tag}"

    @property
    def context(self) -> Path:
        """The directory that it is built from."""
        return Path(self.build_kwargs.get("context") or Path.cwd()).expanduser().absolute()

    # -- building

    def build(self, *sources: Source, notes: Callable[[str], None] | None = None) -> tuple[Source, ...]:
        """Build it.

        Args:
            sources: the code of deployments. Without any, the context is copied as a whole.
            notes: is told what the user should know: files left out, packages not found.

        Returns:
            The code as runs find it in a container, in the order given.

        Raises:
            NoEngine: no Docker Engine answers.
            PluginMissing: the package docker is not installed.
            BuildFailed: a step failed; the message shows it and its last lines.
            InvalidInput: the code cannot go into an image, or docker-py does not know an argument.
        """
        say = notes or (lambda text: None)
        for argument in self.build_kwargs.get("buildargs") or {}:
            if any(part in argument.lower() for part in _SECRET_NAMES):
                say(f"The build argument {argument!r} can be read in the history of the image by all who have it.")
        with engine() as client:
            if self.dockerfile == AUTO:
                placed = self._build_written(client, sources or _whole(self.context), say)[: len(sources)]
            else:
                placed = self._build_given(client, sources, say)
            made = client.images.get(self.reference)
            for tag in self.additional_tags:
                made.tag(self.name, tag)
            self.id = str(made.id)
            return placed

    def _build_written(self, client: Any, sources: Sequence[Source], say: Callable[[str], None]) -> tuple[Source, ...]:
        context = self.context if "context" in self.build_kwargs else None
        layout = contexts.laid_out(sources, _ignored_in, context)
        need, given = contexts.needs_of(sources)
        for note in (*need.notes, *contexts.told_of(layout.folders)):
            say(note)
        lines = [*given, *(one for one in need.lines if one not in given)]
        wheels = [environment.wheel_of(project) for project in need.projects]
        git = any(name.endswith("git_clone") for one in sources for step in one.pull_steps for name in step)
        base = self.base_image or contexts.default_base()
        text = contexts.dockerfile_of(base, lines, [one.name for one in wheels], layout.folders, git=git)
        files = {"Dockerfile": text, "requirements.txt": "".join(f"{one}\n" for one in lines)}
        with _packed(files, layout.folders, wheels) as packed:
            self._build(client, self.reference, fileobj=packed, custom_context=True)
        return layout.sources

    def _build_given(self, client: Any, sources: Sequence[Source], say: Callable[[str], None]) -> tuple[Source, ...]:
        contexts.refuse_home(self.context)
        if not (self.context / self.dockerfile).is_file():
            raise InvalidInput(f"There is no {self.dockerfile} in {self.context}. Give its path, or dockerfile='auto'.")
        exported = [one for one in sources if contexts.is_exported(one)]
        others = [one for one in sources if one not in exported]
        placed = dict(zip(map(id, others), contexts.beside(others, self.context), strict=True))
        self._build(client, self.reference, path=str(self.context), dockerfile=self.dockerfile)
        if exported:
            # No line of theirs could have copied what was made from cells a moment ago.
            layout = contexts.laid_out(exported, _ignored_in)
            text = "\n".join([f"FROM {self.reference}", *contexts.copying(layout.folders)[:-1]]) + "\n"
            with _packed({"Dockerfile": text}, layout.folders, ()) as packed:
                self._build(client, self.reference, on_top=True, fileobj=packed, custom_context=True)
            placed |= dict(zip(map(id, exported), layout.sources, strict=True))
        return tuple(placed[id(one)] for one in sources)

    def _build(self, client: Any, reference: str, *, on_top: bool = False, **given: Any) -> None:
        more = {key: value for key, value in self.build_kwargs.items() if key != "context"}
        if on_top:
            more = {key: more[key] for key in ("platform", "labels", "network_mode") if key in more}
        arguments = {"rm": True, "forcerm": True, **more, **given}
        reading = Reading(self._shown(f"Building {reference}"))
        try:
            with reading.shown:
                reading.read(client.api.build(tag=reference, decode=True, **arguments))
        except TypeError as error:
            raise InvalidInput(f"docker-py cannot build with these arguments: {error}.") from None
        except _docker().errors.APIError as error:
            raise BuildFailed(self._failed(masked(str(error.explanation or error)))) from None
        except _docker().errors.DockerException as error:
            raise InvalidInput(f"{reference!r} cannot be built like this: {error}") from None
        if reading.error is not None or reading.image is None:
            raise BuildFailed(self._failed(masked(reading.error or "The engine gave no image."), reading))

    def _failed(self, reason: str, reading: Reading | None = None) -> str:
        text = f"The image {self.reference!r} could not be built"
        if reading is None or not reading.number:
            return f"{text}: {reason}"
        said = "".join(f"\n    {masked(line)}" for line in reading.last)
        step = f"step {reading.number} of {reading.steps} failed: {masked(reading.line)}"
        return f"{text}: {step}\n  {reason}" + (f"\n  Its last lines:{said}" if said else "")

    def _shown(self, title: str) -> Shown:
        if self._stream is _LIVE:
            return shown(title)
        return shown(title, self._stream, quiet=self._stream is None)

    # -- pushing

    def push(self) -> None:
        """Push it to its registry, with all its tags.

        Raises:
            NoEngine: no Docker Engine answers.
            PushFailed: the registry refuses it or is not there.
        """
        with engine() as client:
            for tag in [self.tag, *self.additional_tags]:
                self._push(client, tag)

    def _push(self, client: Any, tag: str) -> None:
        reference = f"{self.name}:{tag}"
        reading = Reading(self._shown(f"Pushing {reference}"))
        try:
            with reading.shown:
                events = client.api.push(self.name, tag=tag, stream=True, decode=True, auth_config=self._credentials)
                reading.read(events)
        except _docker().errors.DockerException as error:
            reading.error = str(getattr(error, "explanation", None) or error)
        if reading.error is not None:
            raise PushFailed(_not_pushed(reference, masked(reading.error)))

    @property
    def _credentials(self) -> dict[str, str] | None:
        if not self.registry_credentials:
            return None
        return {name: plain(value) for name, value in self.registry_credentials.items() if value is not None}


_REASONS = (
    (("does not exist locally", "no such image"), "it is not on this machine. Build it first."),
    (
        ("denied", "unauthorized", "no basic auth", "authentication required", "forbidden"),
        "the registry {host} refuses it. Run docker login {host}, or give DockerImage(…, registry_credentials=…). To "
        "keep the image on this machine, give push=False.",
    ),
    (
        ("no such host", "connection refused", "i/o timeout", "network is unreachable", "misbehaving", "lookup "),
        "the registry {host} does not answer. Is its name right, and is it reachable from the Docker Engine?",
    ),
    (
        ("http response to https", "certificate", "x509"),
        "the registry {host} cannot be trusted by the Docker Engine. "
        "Put the certificate of its authority into /etc/docker/certs.d/{host}/ca.crt where the engine is.",
    ),
    (("name unknown", "not found", "name invalid", "404"), "there is no such repository in the registry {host}."),
)


def _not_pushed(reference: str, error: str) -> str:
    host = image_names.split_host(reference.rpartition(":")[0])[0] or "docker.io"
    lowered = error.lower()
    reason = next((text for words, text in _REASONS if any(word in lowered for word in words)), None)
    why = reason.replace("{host}", host) if reason else "the registry or the engine failed."
    return f"The image {reference!r} was not pushed: {why} ({error.strip()})"


# -- the engine


def _docker() -> Any:
    return plugins.load("docker", install=INSTALL)


@contextmanager
def engine() -> Iterator[Any]:
    """The Docker Engine of this machine, or of `DOCKER_HOST`.

    Raises:
        PluginMissing: the package docker is not installed.
        NoEngine: no engine answers.
    """
    docker = _docker()
    try:
        client = docker.from_env(timeout=600)
        client.ping()
    except Exception as error:  # docker-py, requests and urllib3 each raise their own
        at = os.environ.get("DOCKER_HOST", "its usual place")
        raise NoEngine(f"No Docker Engine answers at {at}: {_reason(error)}.") from None
    try:
        yield client
    finally:
        client.close()


def _reason(error: BaseException) -> str:
    """What the operating system said, which lies deep in what docker-py, requests and urllib3 put around it."""
    waiting: list[object] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop(0)
        if not isinstance(one, BaseException) or id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower()
        waiting += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]
    return str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__


def _ignored_in(directory: Path) -> Callable[[str], bool]:
    file = directory / ".dockerignore"
    if not file.is_file():
        return lambda relative: False
    patterns = [one.strip() for one in file.read_text(encoding="utf-8").splitlines()]
    matcher = plugins.load("docker.utils.build:PatternMatcher", install=INSTALL)(
        [one for one in patterns if one and not one.startswith("#")]
    )
    return lambda relative: bool(matcher.matches(relative))


def _whole(directory: Path) -> tuple[Source, ...]:
    contexts.refuse_home(directory)
    files = sorted([*directory.glob("*.py"), *directory.glob("*.ipynb")])
    return tuple(Source(directory, one.name, None, directory) for one in files) or (
        Source(directory, ".py", None, None),
    )


@contextmanager
def _packed(files: Mapping[str, str], folders: Sequence[Folder], wheels: Sequence[Path]) -> Iterator[IO[bytes]]:
    """A context as one file. Everyone may read what is in it: containers run as any user."""
    with tempfile.TemporaryFile() as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for name, text in files.items():
                _add(tar, name, text.encode())
            for wheel in wheels:
                _add(tar, f"wheels/{wheel.name}", wheel.read_bytes())
            for folder in folders:
                _add_folder(tar, f"code/{folder.name}")
                for name in folder.files:
                    tar.add(folder.directory / name, f"code/{folder.name}/{name}", recursive=False, filter=_readable)
        packed.seek(0)
        yield packed


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime = len(data), int(time.time())
    tar.addfile(entry, io.BytesIO(data))


def _add_folder(tar: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(entry)


def _readable(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if not (entry.isfile() or entry.issym() or entry.islnk()):
        return None  # sockets, pipes and devices
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o755 if entry.mode & 0o100 else 0o644
    return entry
