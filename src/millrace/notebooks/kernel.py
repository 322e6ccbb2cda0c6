"""One kernel process: started, asked, interrupted, and gone with everything it started."""

from __future__ import annotations

import collections
import os
import shutil
import signal
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import zmq
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
from jupyter_client.manager import KernelManager

from millrace.errors import InvalidInput
from millrace.notebooks.process_family import MARK, descendants, kill_marked

# Short enough that a dead kernel, a cancelled run or a time-out is noticed at once, long enough to cost nothing.
POLL_MILLISECONDS = 50


class KernelDied(Exception):
    """The kernel's process ended although it was not asked to.

    Args:
        message: how, for people.
        signal: the signal that killed it, if one did.
    """

    def __init__(self, message: str, signal: int | None = None) -> None:
        super().__init__(message)
        self.signal = signal


class Kernel:
    """A kernel in a session of its own, spoken to over sockets in a private directory.

    Args:
        name: the kernel spec, such as `python3`.
        working_directory: where it starts.
        environment: its whole environment.

    Raises:
        InvalidInput: there is no such kernel or no such directory.
    """

    def __init__(self, name: str, working_directory: Path, environment: Mapping[str, str]) -> None:
        if not working_directory.is_dir():
            raise InvalidInput(f"There is no directory {working_directory} to run the notebook in.")
        self.name = name
        self.environment = dict(environment)
        self.language_info: dict[str, Any] = {}
        self._mark = uuid.uuid4().hex
        self._sockets = tempfile.mkdtemp(prefix="mill-")
        self._manager = self._manager_of(name)
        self._tail: collections.deque[bytes] = collections.deque(maxlen=4)
        read, write = os.pipe()
        arguments = ["--HistoryManager.hist_file=:memory:"] if self._manager.ipykernel else []
        try:
            self._manager.start_kernel(
                extra_arguments=arguments,
                cwd=str(working_directory),
                env={**environment, MARK: self._mark},
                stdout=write,
                stderr=write,
            )
        except BaseException:
            os.close(read)
            shutil.rmtree(self._sockets, ignore_errors=True)
            raise
        finally:
            os.close(write)
        threading.Thread(target=self._drain, args=(read,), name="kernel-stderr", daemon=True).start()
        self._process = self._manager.provisioner.process
        self.client = self._manager.blocking_client()
        self.client.start_channels(stdin=False, hb=False)
        self.client.allow_stdin = False
        self.shell = self.client.shell_channel.socket
        self.iopub = self.client.iopub_channel.socket
        self.poller = zmq.Poller()
        self.poller.register(self.shell, zmq.POLLIN)
        self.poller.register(self.iopub, zmq.POLLIN)

    def _manager_of(self, name: str) -> KernelManager:
        # Sockets in a private directory: no port to collide with, nothing another user could connect to.
        transport = {"transport": "ipc", "ip": os.path.join(self._sockets, "k")} if os.name == "posix" else {}
        manager = KernelManager(
            kernel_name=name, connection_file=os.path.join(self._sockets, "connection.json"), **transport
        )
        try:
            manager.kernel_spec  # noqa: B018 - the look-up is what we want
        except NoSuchKernel:
            shutil.rmtree(self._sockets, ignore_errors=True)
            known = ", ".join(sorted(KernelSpecManager().find_kernel_specs())) or "none"
            raise InvalidInput(f"There is no kernel '{name}' here. Installed kernels: {known}.") from None
        return manager

    def _drain(self, descriptor: int) -> None:
        # Somebody must read what the process writes past the protocol, or it would block; the end explains a crash.
        with os.fdopen(descriptor, "rb", buffering=0) as stream:
            while piece := stream.read(4096):
                self._tail.append(piece)

    def receive(self, socket: Any) -> dict[str, Any] | None:
        """The next message of a socket, or None when there is none now.

        Args:
            socket: `shell` or `iopub`.
        """
        try:
            message: dict[str, Any] | None = self.client.session.recv(socket, mode=zmq.NOBLOCK)[1]
        except ValueError:  # not signed with our key, or a duplicate
            return None
        return message

    def wait_until_ready(self, timeout: float, stopped: Callable[[], bool]) -> bool:
        """Wait until the kernel answers and what it publishes arrives.

        Args:
            timeout: seconds.
            stopped: true when nobody needs the kernel any more.

        Returns:
            False when `stopped` said so.

        Raises:
            KernelDied: it ended instead, or did not answer in time.
        """
        deadline = time.monotonic() + timeout
        asked: set[str] = set()
        answered = heard = False
        while not (answered and heard):
            if stopped():
                return False
            if not self.is_alive():
                raise self.death()
            if time.monotonic() > deadline:
                raise KernelDied(f"the kernel '{self.name}' did not answer within {timeout:g} s")
            # A subscription takes effect some time after it is made: ask until we also hear the kernel publish.
            if not asked or answered:
                asked.add(self.client.kernel_info())
            ready = dict(self.poller.poll(POLL_MILLISECONDS))
            message = self.receive(self.shell) if self.shell in ready else None
            if message is not None and message["msg_type"] == "kernel_info_reply":
                answered = True
                self.language_info = message["content"].get("language_info", {})
            if self.iopub in ready and self.receive(self.iopub):
                heard = True
        return True

    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id."""
        return int(self._process.pid)

    def death(self) -> KernelDied:
        """How the process ended."""
        code = self._process.poll()
        if code is not None and code < 0:
            try:
                name = signal.Signals(-code).name
            except ValueError:
                name = "unknown"
            memory = ", perhaps because memory ran out" if -code == signal.SIGKILL else ""
            return KernelDied(f"the kernel was killed by signal {-code} ({name}){memory}", -code)
        return KernelDied(f"the kernel's process exited with code {code}")

    def last_words(self) -> str:
        """The end of what the process wrote past the protocol, at most 2,000 characters; may hold secrets."""
        return b"".join(list(self._tail)).decode("utf-8", "replace")[-2000:]

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt in the running cell."""
        if self.is_alive():
            self._manager.interrupt_kernel()

    def stop(self, grace: float = 5.0) -> None:
        """End the kernel and everything it started, and free what it used.

        Args:
            grace: seconds for an orderly end, with its exit handlers; 0 kills at once.
        """
        if grace > 0 and self.is_alive():
            self._ask_to_leave()
            self._wait(grace / 3)
            if self.is_alive():
                self.client.shutdown()
                self._wait(grace * 2 / 3)
        if self.is_alive():
            self._process.kill()
        kill_marked(self._mark, descendants(self.pid) if self.pid else [])
        self._wait(2.0)
        self.client.stop_channels()
        self._manager.cleanup_resources()
        shutil.rmtree(self._sockets, ignore_errors=True)

    def _ask_to_leave(self) -> None:
        if self._manager.ipykernel:
            # A shutdown request hangs one IPython kernel in twenty for ten seconds (7.4: its control thread flushes
            # what its main thread has closed). Leaving as `exit()` does runs the same exit handlers.
            leave = "__import__('IPython').get_ipython().ask_exit()"
            self.client.execute(leave, silent=True, store_history=False)
        else:
            self.client.shutdown()

    def _wait(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while self.is_alive() and time.monotonic() < deadline:
            time.sleep(0.003)


class KernelSource:
    """Keeps one started kernel ready, so that the next run need not wait for one. A kernel is handed over once.

    Args:
        name: the kernel spec.

    Example:
        >>> source = KernelSource()
        >>> source.fill()          # doctest: +SKIP
        >>> run_notebook(book, output=out, kernels=source)   # doctest: +SKIP
    """

    def __init__(self, name: str = "python3") -> None:
        self.name = name
        self._lock = threading.Lock()
        self._ready: Kernel | None = None

    def fill(self) -> None:
        """Start a kernel if none waits; returns before it answers."""
        with self._lock:
            if self._ready is None or not self._ready.is_alive():
                self._ready = Kernel(self.name, Path(tempfile.gettempdir()), os.environ)

    def take(
        self, name: str, working_directory: Path, environment: Mapping[str, str], hidden: frozenset[str]
    ) -> Kernel | None:
        """Hand the waiting kernel over, made ready for a run; None when there is none that fits.

        Args:
            name: the kernel spec wanted.
            working_directory: where the run is to be.
            environment: the environment of the run.
            hidden: variables that the process must never have had, because they hold secrets.
        """
        with self._lock:
            kernel = self._ready
            if kernel is None or kernel.name != name or not working_directory.is_dir():
                return None
            if not hidden.isdisjoint(kernel.environment):
                return None
            self._ready = None
        if not kernel.is_alive():
            kernel.stop(0)
            return None
        gone = sorted(set(kernel.environment) - set(environment))
        changed = {k: v for k, v in environment.items() if kernel.environment.get(k) != v}
        kernel.client.execute(
            f"__import__('os').chdir({str(working_directory)!r})\n"
            f"__import__('os').environ.update({changed!r})\n"
            f"[__import__('os').environ.pop(name, None) for name in {gone!r}]\n",
            silent=True,
            store_history=False,
        )
        return kernel

    def close(self) -> None:
        """End the waiting kernel."""
        with self._lock:
            kernel, self._ready = self._ready, None
        if kernel is not None:
            kernel.stop(0)
