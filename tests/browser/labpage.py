"""JupyterLab and Chromium without a screen: a server, a page, and what a test does with them.

Everything (settings, kernels, browser profile) lies under one temporary directory, so that nothing of the user's own
Jupyter is read or written. Only processes started here are ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page, Playwright

try:
    from playwright.sync_api import expect

    expect.set_options(timeout=15_000)
except ImportError:  # the fixture `lab` says so, and skips
    expect = None  # type: ignore[assignment]

__all__ = ["CHROMIUM", "LabPage", "browser_page", "environment", "expect", "lab_server"]

CHROMIUM = Path("/usr/bin/chromium")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--force-color-profile=srgb",
]
# What opens by itself, moves by itself or hides cells makes a test flicker.
_SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "apputils-extension/themes": {"theme": "JupyterLab Light", "adaptive-theme": False},
    "docmanager-extension/plugin": {"autosave": False, "renameUntitledFileOnSave": False},
    "notebook-extension/tracker": {"windowingMode": "none"},
    "completer-extension/manager": {"autoCompletion": False},
}


def environment(home: Path, millrace_home: Path) -> dict[str, str]:
    """The variables of the server and its kernels.

    Args:
        home: for all that is Jupyter's.
        millrace_home: for all that is Millrace's.
    """
    for name, values in _SETTINGS.items():
        path = home / "lab-settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(values))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE_", "PREFECT_"))}
    return kept | {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "lab-settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTER_PREFER_ENV_PATH": "1",
        "MILLRACE_HOME": str(millrace_home),
        "TZ": "Europe/Oslo",
    }


@contextlib.contextmanager
def lab_server(root: Path, home: Path, variables: dict[str, str]) -> Iterator[tuple[str, str]]:
    """A JupyterLab on a free port; gives its address and token.

    Args:
        root: the directory of the notebooks.
        home: where its log goes.
        variables: its environment.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        "--allow-root",
        "--ip=127.0.0.1",
        f"--port={port}",
        "--ServerApp.port_retries=0",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    log = home / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=variables,
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            cwd=root,
        )
    base = f"http://127.0.0.1:{port}"
    try:
        _wait_for(f"{base}/api/status?token={token}", process, log)
        yield base, token
    finally:
        os.killpg(process.pid, signal.SIGTERM)  # our own session: the server and its kernels
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=2) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start\n{log.read_text()[-3000:]}")


@contextlib.contextmanager
def browser_page(playwright: Playwright, profile: Path) -> Iterator[Page]:
    """A page of a fresh Chromium.

    Args:
        playwright: the driver.
        profile: an empty directory.
    """
    context = playwright.chromium.launch_persistent_context(
        str(profile),
        executable_path=str(CHROMIUM),
        headless=True,
        args=_FLAGS,
        viewport={"width": 1180, "height": 900},
        reduced_motion="reduce",
        locale="en-GB",
        timezone_id="Europe/Oslo",
        permissions=["clipboard-read", "clipboard-write"],
    )
    try:
        yield context.pages[0] if context.pages else context.new_page()
    finally:
        context.close()


class LabPage:
    """A notebook open in JupyterLab, driven by the application's own commands.

    Args:
        page: the browser's page.
        base: the address of the server.
        token: its token.
    """

    def __init__(self, page: Page, base: str, token: str) -> None:
        self.page, self._base, self._token = page, base, token

    def open(self, path: str) -> None:
        """Open a notebook and wait for its kernel; the application is loaded the first time only.

        Args:
            path: relative to the server's root.
        """
        if self.page.url.startswith(self._base):
            self.page.evaluate(
                """async (path) => {
                    const app = window.jupyterapp;
                    for (const widget of [...app.shell.widgets("main")]) {
                        if (widget.context) widget.context.model.dirty = false;
                        widget.dispose();
                    }
                    await app.commands.execute("docmanager:open", { path, factory: "Notebook" });
                }""",
                path,
            )
            self.page.wait_for_function(
                "(path) => window.jupyterapp.shell.currentWidget?.context?.path === path", arg=path
            )
        else:
            self.page.goto(f"{self._base}/lab/tree/{path}?token={self._token}&reset", timeout=60_000)
            self.page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
            self.page.evaluate("async () => { await window.jupyterapp.restored; }")
            self.command("application:toggle-left-area")
        self.page.locator(".jp-Notebook").first.wait_for()
        self.wait_idle()

    def command(self, name: str, **arguments: Any) -> None:
        """Run a command of the application.

        Args:
            name: such as `docmanager:save`.
            arguments: what it takes.
        """
        self.page.evaluate(
            "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)", [name, arguments]
        )

    def theme(self, name: str) -> None:
        """Change the theme.

        Args:
            name: `Light` or `Dark`.
        """
        self.command("apputils:change-theme", theme=f"JupyterLab {name}")
        light = "true" if name == "Light" else "false"
        self.page.wait_for_function(
            """(light) => document.body.dataset.jpThemeLight === light
                && !document.getElementById("jupyterlab-splash")""",
            arg=light,
        )

    def wait_idle(self, timeout: float = 60.0) -> None:
        """Wait until the kernel has nothing to do.

        Args:
            timeout: seconds.
        """
        self.page.wait_for_function(
            """() => {
                const kernel = window.jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel;
                if (!kernel || kernel.connectionStatus !== "connected" || kernel.status !== "idle") return false;
                return ![...document.querySelectorAll(".jp-InputPrompt")].some((e) => e.textContent.includes("*"));
            }""",
            timeout=timeout * 1000,
        )

    def add(self, source: str) -> int:
        """Write a cell below all others.

        Args:
            source: what it says.

        Returns:
            Its place, from 0.
        """
        place: int = self.page.evaluate(
            """(source) => {
                const cells = window.jupyterapp.shell.currentWidget.content.model.cells;
                const place = cells.length;
                const book = window.jupyterapp.shell.currentWidget.content.model.sharedModel;
                book.insertCell(place, { cell_type: "code", source, metadata: {} });
                return place;
            }""",
            source,
        )
        return place

    def start(self, index: int) -> None:
        """Run a cell without waiting for its end.

        Args:
            index: its place, from 0.
        """
        self.page.evaluate(
            "(index) => { window.jupyterapp.shell.currentWidget.content.activeCellIndex = index; }", index
        )
        self.page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-cell'); }")

    def run(self, *indices: int) -> None:
        """Run cells, one after the other, each to its end.

        Args:
            indices: their places.
        """
        for index in indices:
            self.start(index)
            self.wait_idle()

    def output(self, index: int) -> Locator:
        """The output area of a cell.

        Args:
            index: its place.
        """
        return self.page.locator(".jp-Notebook .jp-Cell").nth(index).locator(".jp-Cell-outputArea")

    def text(self, index: int) -> str:
        """What a cell shows.

        Args:
            index: its place.
        """
        return "\n".join(self.output(index).locator(".jp-OutputArea-output").all_inner_texts())

    def shut_down(self) -> None:
        """Close the open notebook and end its kernel, in this order: widgets say goodbye."""
        self.page.evaluate(
            """async () => {
                const app = window.jupyterapp;
                const widget = app.shell.currentWidget;
                const session = widget?.context?.sessionContext?.session?.id;
                if (widget?.context) widget.context.model.dirty = false;
                widget?.dispose();
                if (session) await app.serviceManager.sessions.shutdown(session);
            }"""
        )
