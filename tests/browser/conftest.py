"""One JupyterLab, one Chromium and one data directory for all tests here; a fresh notebook and kernel for each."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from labpage import CHROMIUM, LabPage, browser_page, environment, lab_server

import needs
from millrace import plugins, settings
from millrace.client import locate

ARTIFACTS = Path(os.environ.get("MILLRACE_TEST_ARTIFACTS", Path(__file__).parent / "artifacts"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def _missing() -> str:
    for package in ("playwright", "jupyterlab"):
        if importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    return "" if CHROMIUM.exists() else f"{CHROMIUM} is not there"


@pytest.fixture(scope="session")
def chromium() -> None:
    """That there is a browser, and a JupyterLab."""
    if missing := _missing():
        needs.missing(missing)


# of a module: while Playwright runs, this thread has a running event loop, and other tests must not meet it
@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, chromium: None) -> Iterator[tuple[LabPage, Path]]:
    home = tmp_path_factory.mktemp("lab")
    root = home / "books"
    root.mkdir()
    # Short, for the path of a socket has at most a hundred bytes.
    data = Path(tempfile.mkdtemp(prefix="mr-"))
    before = os.environ.get("MILLRACE_HOME")
    os.environ["MILLRACE_HOME"] = str(data)
    settings.current.cache_clear()
    try:
        with (
            lab_server(root, home, environment(home, data)) as (base, token),
            plugins.load("playwright.sync_api:sync_playwright")() as playwright,
            browser_page(playwright, home / "profile") as page,
        ):
            page.set_default_timeout(20_000)
            yield LabPage(page, base, token), root
    finally:
        locate.stop_embedded()
        shutil.rmtree(data, ignore_errors=True)
        if before is None:
            del os.environ["MILLRACE_HOME"]
        else:
            os.environ["MILLRACE_HOME"] = before
        settings.current.cache_clear()


@pytest.fixture
def errors(lab: tuple[LabPage, Path]) -> Iterator[list[str]]:
    """What the page complained of during a test."""
    found: list[str] = []
    page = lab[0].page

    def console(message: object) -> None:
        text = str(getattr(message, "text", message))
        # JupyterLab's own, about the kernel of the notebook that was open before.
        if getattr(message, "type", "") == "error" and "debugger state" not in text:
            found.append(text)

    def raised(error: object) -> None:
        found.append(f"pageerror: {error}")

    page.on("console", console)
    page.on("pageerror", raised)
    yield found
    page.remove_listener("console", console)
    page.remove_listener("pageerror", raised)


@pytest.fixture
def notebook(lab: tuple[LabPage, Path], request: pytest.FixtureRequest) -> Iterator[Callable[..., LabPage]]:
    """`notebook(*cells)`: a new notebook, open and its kernel idle. After a failure a picture of it is kept."""
    page, root = lab

    def open_(*cells: str) -> LabPage:
        name = f"{request.node.name.replace('[', '-').replace(']', '')}.ipynb"
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, root / name)
        page.open(name)
        return page

    yield open_
    if getattr(request.node, "failed", False):
        ARTIFACTS.mkdir(exist_ok=True)
        page.page.screenshot(path=str(ARTIFACTS / f"{request.node.name}.png"))
    page.shut_down()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    report = yield
    if report.when == "call":
        item.failed = report.failed  # type: ignore[attr-defined]
    return report
