"""The notebook of the guide, typed into JupyterLab in a browser while its commands are typed into terminals.

The whole guide, with its images, is done by `tests/docs/test_guide.py` in a kernel; here its first parts are seen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import nbformat
import pytest
from labpage import LabPage, browser_page, environment, lab_server

from millrace import plugins, settings
from millrace.client.locate import stop_embedded
from reader import Block, Reader, matches

PAGE = (Path(__file__).parents[2] / "docs/guide.md").read_text()
FIRST_PARTS = PAGE.partition("\n## 4. ")[0]
PATIENCE = 120.0
BOOK = "shop.ipynb"


class LabReader(Reader):
    """A reader whose notebook is open in JupyterLab.

    Args:
        place, scratch: see `Reader`.
        opened: gives a JupyterLab in a directory, with an environment.
    """

    def __init__(self, place: Path, scratch: Path, opened: Callable[[Path, dict[str, str]], LabPage]) -> None:
        super().__init__(place, scratch)
        self._opened = opened
        self.page: LabPage | None = None
        self.cells: dict[int, int] = {}

    def _cell(self, block: Block, expected: str) -> None:
        if self.page is None:
            kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
            book = nbformat.v4.new_notebook(metadata={"kernelspec": kernel})
            nbformat.write(book, self._directory / BOOK)
            self.page = self._opened(self._directory, self._environment)
        number = self.cells[block.line] = self.page.add(block.text.rstrip("\n"))
        self.page.start(number)
        self.page.wait_idle(PATIENCE)
        deadline = time.monotonic() + 15  # what another process says comes a moment later
        while expected and not matches(self.page.text(number) + "\n", expected) and time.monotonic() < deadline:
            time.sleep(0.1)
        shown = self.page.text(number)
        assert not self.page.output(number).locator(".jp-mod-error, [data-mime-type*=error]").count(), shown
        assert not expected or matches(shown + "\n", expected), f"line {block.line}:\n{block.text}\nshows\n{shown}"


@pytest.fixture
def reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chromium: None) -> Iterator[LabReader]:
    home = Path(tempfile.mkdtemp(prefix="mr-"))  # short: the path of a socket has at most a hundred bytes
    monkeypatch.setenv("MILLRACE_HOME", str(home))
    for name in ("MILLRACE_API_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    settings.current.cache_clear()
    jupyter, place, scratch = (tmp_path / name for name in ("jupyter", "place", "scratch"))
    for made in (jupyter, place, scratch):
        made.mkdir()
    with contextlib.ExitStack() as stack:

        def opened(root: Path, known: dict[str, str]) -> LabPage:
            ours = {"NO_COLOR", "TERM"}  # of the terminals
            env = {name: text for name, text in known.items() if name not in ours} | environment(jupyter, home)
            base, token = stack.enter_context(lab_server(root, jupyter, env))
            playwright = stack.enter_context(plugins.load("playwright.sync_api:sync_playwright")())
            page = LabPage(stack.enter_context(browser_page(playwright, jupyter / "profile")), base, token)
            page.open(BOOK)
            return page

        found = LabReader(place, scratch, opened)
        try:
            yield found
        finally:
            found.close()
            stop_embedded()
            shutil.rmtree(home, ignore_errors=True)
            settings.current.cache_clear()


@pytest.mark.timeout(400)
def test_the_first_parts_of_the_guide(reader: LabReader) -> None:
    for block in reader.read(FIRST_PARTS):
        if pictures := os.environ.get("MILLRACE_TEST_PICTURES"):
            picture(reader, block, Path(pictures))


def picture(reader: LabReader, block: Block, folder: Path) -> None:
    """A cell as it is seen, in both themes."""
    if block.kind == "ipython" and reader.page is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for theme in ("Dark", "Light"):
            reader.page.theme(theme)
            cell = reader.page.page.locator(".jp-Notebook .jp-Cell").nth(reader.cells[block.line])
            cell.screenshot(path=str(folder / f"{block.line:03d}-{theme.lower()}.png"))
