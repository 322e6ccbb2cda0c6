"""The magics in a real kernel: what a person types and what they see."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class Kernel:
    """A kernel with a directory and a data directory of its own."""

    def __init__(self, directory: Path, home: Path, **more: str) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("MILLRACE_", "PREFECT_"))}
        variables = kept | {
            "MILLRACE_HOME": str(home),
            "IPYTHONDIR": str(directory / ".ipython"),
            "MILLRACE_AUTOSTART": "false",
            **more,
        }
        self._manager = KernelManager()
        self._manager.start_kernel(cwd=str(directory), env=variables)
        self._client = self._manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(60)
        self.error: tuple[str, str, str] | None = None
        self.page = ""
        """The HTML that the last cell left, its later changes included."""
        self.plain = ""
        """The same as text."""
        self.picture = ""
        """The SVG that the last cell showed."""

    def run(self, code: str) -> str:
        """What a cell prints and shows, as text; an error is kept in `error`."""
        seen: list[str] = []
        self.error = None
        self.page = ""

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    seen.append(content["text"])
                case "error":
                    assert self.error is None, "shown twice"
                    trace = _COLOURS.sub("", "\n".join(content["traceback"]))
                    self.error = (content["ename"], content["evalue"], trace)
                case "execute_result" | "display_data" | "update_display_data":
                    self.page = content["data"].get("text/html", "")
                    self.plain = content["data"]["text/plain"]
                    self.picture = content["data"].get("image/svg+xml", "")
                    if message["msg_type"] != "update_display_data":
                        seen.append(content["data"]["text/plain"])

        self._client.execute_interactive(code, output_hook=take, timeout=60)
        return _COLOURS.sub("", "".join(seen)).strip()

    def stop(self) -> None:
        self._client.stop_channels()
        self._manager.shutdown_kernel(now=True)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    directory = tmp_path_factory.mktemp("book")
    (directory / "penguin_tools.py").write_text("def weigh(grams):\n    return grams / 1000\n")
    kernel = Kernel(directory, Path(tempfile.mkdtemp(prefix="mr-", dir=directory)))
    assert kernel.run("%load_ext millrace") == ""
    yield kernel
    kernel.stop()


@pytest.fixture
def kernel(running: Kernel) -> Kernel:
    running.run("%reset -f\nget_ipython().history_manager.reset()\nget_ipython().execution_count = 1")
    running.run("%reload_ext millrace")
    return running


def test_a_flow_of_several_cells(kernel: Kernel) -> None:
    kernel.run("RATE = 3\nfrom penguin_tools import weigh")
    shown = kernel.run("%%flow daily-report --retries 2\ndef report(n: int = 2):\n    return weigh(n * RATE)")
    assert shown.startswith("Flow 'daily-report' is ready: daily_report(n). It takes along cells ")
    assert shown.endswith("and penguin_tools.py.")
    assert kernel.run("daily_report, report is daily_report, daily_report.retries") == (
        "(<Flow 'daily-report': report(n)>, True, 2)"
    )
    assert kernel.run("report.fn(1000)") == "3.0"


DRAWN = """%%flow
ran = []

@task
def rows(n): ran.append("rows")

@task(viz_return_value=[1, 2])
async def arows(n): ran.append("arows")

@task
def load(row): ran.append("load")

@flow
def etl(n: int = 1):
    found = rows(n)
    load.map(found)
    return [load(found), load.submit(rows.submit(n))]

@flow
async def aetl(n: int = 1):
    for row in await arows(n):
        load(row)
    etl(n)

@flow
def items(n: int = 1):
    for row in rows(n):
        yield load(row)

class Shop:
    @flow
    def sell(self, what: str):
        load(self.pick(what))

    @task
    def pick(self, what): ran.append("pick")
"""


@pytest.mark.parametrize(
    ("call", "edges", "boxes"),
    [
        ("etl.visualize(2)", ["rows-0 -> load-0", "rows-0 -> load-1", "rows-1 -> load-2"], 5),
        ("await aetl.visualize()", ["arows-0", "load-0", "load-1", "etl-0"], 4),
        ("items.visualize()", ["rows-0 -> load-0"], 2),
        ("Shop().sell.visualize('tea')", ["pick-0 -> load-0"], 2),
    ],
)
def test_a_flow_of_a_cell_is_drawn_without_a_server(kernel: Kernel, call: str, edges: list[str], boxes: int) -> None:
    kernel.run(DRAWN)
    assert kernel.error is None, kernel.error
    shown = kernel.run(call)
    assert kernel.error is None, kernel.error
    assert shown.startswith("<Drawing of ")
    assert kernel.picture.lstrip().startswith("<svg") and kernel.picture.count("<rect") >= boxes
    assert kernel.run(f"print({call})\nprint(ran)").splitlines() == [*edges, "[]"]


def test_the_three_names_need_no_import(kernel: Kernel) -> None:
    shown = kernel.run(
        "%%flow\n@task\ndef part(): ...\n\n@flow\ndef etl():\n    get_run_logger().info('x')\n    part()"
    )
    assert shown == "Flow 'etl' is ready: etl()."
    kernel.run("task = 'mine'\n%reload_ext millrace")
    assert kernel.run("task") == "'mine'"


def test_time_above(kernel: Kernel) -> None:
    shown = kernel.run("%%time\n%%flow etl\nn = 1\nn + 1")
    assert "Flow 'etl' is ready: etl(n)." in shown and "Wall time" in shown
    assert kernel.run("etl.fn()") == "2"


def test_get_source_shows_the_cell(kernel: Kernel) -> None:
    kernel.run("%%flow\n\n# a remark\ndef etl(n=1):\n    # inside\n    return n")
    assert kernel.run("import inspect\nprint(inspect.getsource(etl.fn))").splitlines() == [
        "def etl(n=1):",
        "    # inside",
        "    return n",
    ]


def test_get_source_of_a_plain_body(kernel: Kernel) -> None:
    kernel.run("%%flow etl\nn = 1\ndef double(x):\n    return 2 * x\ndouble(n)")
    assert kernel.run("import inspect\nprint(inspect.getsource(etl.fn))").splitlines() == [
        "def etl():  # %%flow etl",
        "    n = 1",
        "    def double(x):",
        "        return 2 * x",
        "    double(n)",
    ]


@pytest.mark.parametrize(
    ("cell", "ename", "line"),
    [
        ("%%flow\nx = 1\n\nx / 0\ndef etl(): ...", "ZeroDivisionError", 4),
        ("%%time\n%%flow\n\nraise KeyError('a')\ndef etl(): ...", "KeyError", 4),
    ],
)
def test_an_error_in_the_cell_is_shown_once_with_its_line(kernel: Kernel, cell: str, ename: str, line: int) -> None:
    kernel.run(cell)
    assert kernel.error is not None
    assert kernel.error[0] == ename
    assert f"----> {line} " in kernel.error[2]
    assert "millrace" not in kernel.error[2] and "run_cell_magic" not in kernel.error[2]


def test_an_error_at_the_call_names_the_line_of_the_cell(kernel: Kernel) -> None:
    kernel.run("%%flow etl\nn = 1\n\nif n > 5:\n    raise ValueError(n)\nn")
    kernel.run("etl.fn(7)")
    assert kernel.error is not None
    assert "----> 5 " in kernel.error[2] and "in etl(n)" in kernel.error[2]


def test_a_syntax_error_has_the_line_of_the_cell(kernel: Kernel) -> None:
    kernel.run("%%flow etl\nx = 1\ndef f(:\n    pass")
    assert kernel.error is not None
    ename, _, trace = kernel.error
    assert ename == "SyntaxError" and "line 3" in trace and "def f(:" in trace
    assert "millrace" not in trace


def test_what_cannot_be_shipped_is_a_note_not_an_error(kernel: Kernel) -> None:
    kernel.run("import sqlite3\ncon = sqlite3.connect(':memory:')")
    shown = kernel.run("%%flow\ndef etl():\n    return con.execute('select 1').fetchall()")
    assert kernel.error is None
    assert "It runs here but cannot be deployed yet: etl needs con in cell " in shown
    assert kernel.run("etl.fn()") == "[(1,)]"
    kernel.run("%flow_check etl")
    assert kernel.error is not None and kernel.error[0] == "ClosureError"


@pytest.mark.parametrize(
    ("cell", "ename", "message"),
    [
        ("%%flow etl --retires 2\ndef etl(): ...", "InvalidInput", "Did you mean --retries?"),
        ("%%flow\nn = 1\nn", "InvalidInput", "needs a name"),
        ("%millrace statsu", "InvalidInput", "Did you mean status?"),
        ("%millrace dance", "InvalidInput", "It has status, runs, watch, logs, cancel, deploy, export, check."),
        ("%millrace export etl", "InvalidInput", "takes a flow and a directory"),
        ("%millrace deploy nothing", "MissingFlow", "'nothing' is not a flow here"),
        ("%flow_check etl -p n", "InvalidInput", "key=value"),
        ("%millrace runs 'a", "InvalidInput", "Close the quotes"),
        ("%millrace runs", "ServerUnavailable", "millrace up"),
    ],
)
def test_a_mistake_is_one_message(kernel: Kernel, cell: str, ename: str, message: str) -> None:
    kernel.run(cell)
    assert kernel.error is not None
    assert kernel.error[0] == ename and message in kernel.error[1]
    assert kernel.error[2] == f"{ename}: {kernel.error[1]}"  # no traceback


def test_a_wrong_argument_is_one_message(kernel: Kernel) -> None:
    kernel.run("%%flow\ndef etl(n: int = 1):\n    return n")
    kernel.run("etl(bad=1)")
    assert kernel.error is not None
    assert kernel.error[0] == "ParameterError" and "bad" in kernel.error[1] and "\n" not in kernel.error[2]


def test_check_runs_the_export_in_a_clean_process(kernel: Kernel) -> None:
    kernel.run("from penguin_tools import weigh")
    kernel.run("%%flow\ndef etl(n: int = 1):\n    return weigh(n)")
    shown = kernel.run("%flow_check etl -p n=500")
    assert shown.startswith("✔ etl runs in a clean process (")
    assert "penguin_tools.py" in shown and "Called there, it gave 0.5" in shown
    assert kernel.run("%millrace check etl").startswith("✔ etl runs")
    kernel.run("%%flow\ndef bad():\n    return 1 / 0")
    assert "ZeroDivisionError" in kernel.run("%flow_check bad --call")


def test_export(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run("%%flow\ndef etl():\n    return 1")
    shown = kernel.run(f"%millrace export etl {tmp_path}")
    assert shown == f"{tmp_path / 'etl_flows.py'}\nentrypoint etl_flows.py:etl"


def test_status_starts_nothing(kernel: Kernel) -> None:
    assert "Start it with `millrace up`" in kernel.run("%millrace status")


def test_values_of_cells_are_one_line_and_a_card(kernel: Kernel) -> None:
    kernel.run("%%flow\ndef etl(n: int = 1):\n    return n")
    assert kernel.run("etl") == "<Flow 'etl': etl(n)>"
    show = "get_ipython().display_formatter.format({})[0]['text/html']"
    assert "n: int = 1" in kernel.run(f"print({show.format('etl')})")
    kernel.run(
        "from millrace.schema.runs import FlowRun\nfrom millrace.schema.deployments import Deployment\nimport uuid\n"
        "ids = dict(id=uuid.uuid4(), flow_id=uuid.uuid4())\n"
        "run = FlowRun(name='<b>x', state_name='Late', **ids)\ndeployment = Deployment(name='nightly', **ids)"
    )
    assert kernel.run("run") == "<FlowRun '<b>x' Late>"
    assert "<b>x" not in kernel.run(f"print({show.format('run')})")
    assert kernel.run("deployment") == "<Deployment 'nightly' active>"


def test_unload(kernel: Kernel) -> None:
    kernel.run("%unload_ext millrace")
    assert "not found" in kernel.run("%millrace status")
    kernel.run("task")
    assert kernel.error is not None and kernel.error[0] == "NameError"
    assert kernel.run("%load_ext millrace") == ""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    """A kernel with a server of its own."""
    home = Path(tempfile.mkdtemp(prefix="mr-"))  # short: the path of a socket has at most a hundred bytes
    kernel = Kernel(tmp_path_factory.mktemp("served"), home, MILLRACE_AUTOSTART="true", MILLRACE_DISPLAY="html")
    kernel.run("%load_ext millrace\nimport millrace, threading")
    yield kernel
    kernel.run("from millrace.client import locate\nlocate.stop_embedded()")
    kernel.stop()
    shutil.rmtree(home, ignore_errors=True)


def test_watching_without_widgets_leaves_a_card_and_no_thread(served: Kernel) -> None:
    served.run("%%flow --log-prints\ndef etl(n: int = 1):\n    print('<b>here</b>')\n    return 1 / n")
    served.run("etl.deploy('now', print_next_steps=False)")
    served.run("run = millrace.run_deployment('etl/now', timeout=0, parameters={'n': 0})")
    assert served.run("monitor = millrace.watch(run, wait=True, timeout=30)\nmonitor.state").endswith("'Failed'")
    served.run("millrace.watch(run, wait=True, timeout=30)")
    assert served.plain == "<RunMonitor 'etl' Failed>"
    assert "ZeroDivisionError" in served.page and "&lt;b&gt;here" in served.page and "<b>here" not in served.page
    leftover = "[t.name for t in threading.enumerate() if t.name.startswith('millrace')]"
    assert served.run(leftover) == "[]"
    assert (
        served.run("from millrace.jupyter import follower, monitor as m\nfollower.followed_runs(), m._alive")
        == "([], {})"
    )


def test_the_commands_find_runs_by_name_and_id(served: Kernel) -> None:
    served.run("%%flow --log-prints\ndef hello():\n    print('good morning')")
    served.run("state = hello(return_state=True)")
    served.run("(run,) = millrace.connect().read_flow_runs(flows={'name': {'any_': ['hello']}})")
    shown = served.run("%millrace runs 5")
    assert "✔ Completed" in shown and "hello / " in shown
    for _ in range(50):  # the lines of a run are sent in batches, shortly after
        if "good morning" in served.run("%millrace logs {run.name}"):
            break
        time.sleep(0.1)
    assert "good morning" in served.run("%millrace logs {str(run.id)}")
    served.run("%millrace watch {run.name}")
    assert "Completed" in served.page
    assert "is Completed" in served.run("%millrace cancel {run.name}")
    assert "deployments" in served.run("%millrace status")
    served.run("%millrace watch nobody-at-all")
    assert served.error is not None and served.error[0] == "NotFound"


def test_the_form_without_widgets_is_the_call(served: Kernel) -> None:
    served.run("%%flow\ndef etl(n: int = 1):\n    return n")
    assert served.run("millrace.deploy_form(etl)") == "<DeployForm 'etl'>"
    assert "etl.deploy(" in served.page


@pytest.mark.slow
def test_loading_is_quick() -> None:
    program = (
        "import time\nfrom IPython.core.interactiveshell import InteractiveShell\n"
        "shell = InteractiveShell.instance()\nbegan = time.process_time()\n"
        "shell.run_line_magic('load_ext', 'millrace')\nprint(time.process_time() - began)"
    )
    best = min(
        float(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        for _ in range(3)
    )
    assert best < 0.5


def test_a_flow_is_exported_by_the_variable_that_holds_it(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run("from millrace import flow\nRATE = 4\ntwice = flow(lambda n=1: n * RATE, name='twice')\ntwice")
    shown = kernel.run(f"twice.export({str(tmp_path)!r}).entrypoint")
    assert kernel.error is None and shown == "'twice_flows.py:twice'"


def test_a_mistake_on_a_flow_line_is_forgotten(kernel: Kernel) -> None:
    kernel.run("%%flow two names\ndef oops(): return 1")
    assert kernel.error is not None
    shown = kernel.run("%%flow\ndef after_a_mistake(): return 1")
    assert kernel.error is None and "cannot be deployed" not in shown


def test_what_a_cell_that_raised_did_not_do_is_not_exported(kernel: Kernel, tmp_path: Path) -> None:
    kernel.run("%load_ext millrace")
    kernel.run("B = 2")
    kernel.run("C = 3\nvalue = (\n    1 / 0\n)\nB = 99")
    assert kernel.error is not None and kernel.error[0] == "ZeroDivisionError"
    kernel.run("B = 7\ndef broken(:")
    kernel.run("%%flow\ndef both(): return B, C")
    assert "ready" in kernel.run("%%flow\ndef both(): return B, C")
    kernel.run(f"exported = both.export({str(tmp_path / 'out')!r})")
    assert kernel.error is None
    text = (tmp_path / "out" / "both_flows.py").read_text()
    assert "B = 2" in text and "C = 3" in text and "99" not in text and "B = 7" not in text


def test_lines_of_a_run_are_shown_once_and_in_order(served: Kernel) -> None:
    served.run(
        "%%flow --log-prints\ndef loud(n: int = 1):\n    log = get_run_logger()\n    log.info('rows %d', n)\n"
        "    print('printed', n)\n    log.error('wrong')"
    )
    shown = served.run("loud()").splitlines()
    assert [line.partition(" - ")[2] or line for line in shown] == [
        "Flow 'loud' begins",
        "rows 1",
        "printed 1",
        "wrong",
        "Ended: Completed",
    ]
    served.run("import logging\nlogging.basicConfig(level=logging.INFO)")
    shown = served.run("loud(2)").splitlines()
    assert [line.partition(" - ")[2] or line for line in shown] == [
        "Flow 'loud' begins",
        "rows 2",
        "printed 2",
        "wrong",
        "Ended: Completed",
    ]
    served.run("logging.getLogger().handlers.clear()\nget_run_logger()")
    assert served.error is not None and served.error[0] == "MissingContext"
