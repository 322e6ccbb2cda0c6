"""Artifacts, secrets and variables in a real kernel and in executed notebooks: what people see, and what nobody does."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from bookshelf import write_book
from test_magics import Kernel

from millrace.notebooks.run import run_notebook

CANARY = "canary-5d1e-hunter22"


FLOW = """
from concurrent.futures import wait as done
@task
def leave(n):
    create_markdown_artifact(f"# task {n}", key=f"task-{n}")
    return n
@task
async def aleave():
    await acreate_link_artifact("https://example.org", "there", key="linked")
@flow
def leaving():
    create_markdown_artifact("from the flow", key="from-flow")
    for future in leave.map([1, 2]):
        future.result()
@flow
async def aleaving():
    await acreate_table_artifact({"a": [1]}, key="from-async")
    await aleave()
def of(state):
    return millrace.RunHandle(state.state_details.flow_run_id).artifacts()
"""


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    directory = tmp_path_factory.mktemp("values")
    home = Path(tempfile.mkdtemp(prefix="mr-", dir=directory))
    kernel = Kernel(directory, home, MILLRACE_AUTOSTART="true", MILLRACE_IDLE_EXIT_SECONDS="20")
    kernel.run("import json, millrace, os, sys\nfrom pathlib import Path\nfrom millrace import flow, task")
    kernel.run("from millrace.artifacts import *\nhome = Path(os.environ['MILLRACE_HOME'])")
    kernel.run(FLOW)
    kernel.run(f"millrace.Secret('{CANARY[:9]}' + '{CANARY[9:]}').save('db')\npw = millrace.Secret.load('db')")
    assert kernel.error is None, kernel.error
    yield kernel
    kernel.run("from millrace.client import locate; locate.stop_embedded()")
    kernel.stop()


def test_a_table_is_shown_in_its_cell(kernel: Kernel) -> None:
    said = kernel.run("id = create_table_artifact([{'<b>': '<i>x</i>', 'n': float('nan')}], key='rows')")
    assert said == "<Artifact table 'rows'>"
    assert "&lt;i&gt;x&lt;/i&gt;" in kernel.page and "<i>" not in kernel.page and "<table" in kernel.page


def test_a_progress_moves_in_its_place(kernel: Kernel) -> None:
    said = kernel.run("bar = create_progress_artifact(0, key='load')\nfor n in (25, 75):\n    update_progress_artifact(bar, n)")
    assert said == "<Artifact progress 'load' 0 %>"
    assert 'aria-valuenow="75"' in kernel.page
    assert kernel.run("update_progress_artifact(bar, 100, description='all of it');") == ""
    assert 'aria-valuenow="100"' in kernel.page and "all of it" in kernel.page


def test_artifacts_belong_to_the_runs_that_leave_them(kernel: Kernel) -> None:
    said = kernel.run("state = leaving(return_state=True)")
    assert {"<Artifact markdown 'task-1'>", "<Artifact markdown 'from-flow'>"} <= set(re.findall(r"<Artifact[^>]*>", said))
    said = kernel.run("print(sorted((a.key, a.task_run_id is not None) for a in of(state)))")
    assert said == "[('from-flow', False), ('task-1', True), ('task-2', True)]"
    kernel.run("state = await aleaving(return_state=True)")
    said = kernel.run("print(sorted((a.key, a.type, a.task_run_id is not None) for a in of(state)))")
    assert said == "[('from-async', 'table', False), ('linked', 'markdown', True)]"


def test_the_settled_monitor_keeps_the_artifacts(kernel: Kernel) -> None:
    kernel.run("%load_ext millrace")
    kernel.run("state = await aleaving(return_state=True)")
    kernel.run("monitor = millrace.watch(of(state)[0].flow_run_id); monitor.wait();")
    assert "Artifacts (2)" in kernel.page and ">there</a>" in kernel.page


def test_a_loaded_secret_leaves_the_kernel_in_no_output(kernel: Kernel) -> None:
    assert kernel.run("pw") == "Secret('********', name='db')"
    assert kernel.run("print(pw.get(), end='')") == "********"
    assert kernel.run("pw.get()") == "'********'"
    assert kernel.run("{'deep': [pw.get()]}") == "{'deep': ['********']}"
    assert kernel.run("import base64; base64.b64encode(pw.get().encode()).decode()") == "'********='"
    kernel.run("from IPython.display import HTML; HTML('<p>' + pw.get() + '</p>')")
    assert kernel.page == "<p>********</p>"
    kernel.run("raise ValueError(pw.get())")
    assert kernel.error is not None and "********" in kernel.error[1] and CANARY not in "".join(kernel.error)
    kernel.run("import sys; print(pw.get(), file=sys.stderr)")
    create = "create_markdown_artifact('the key ' + pw.get(), description='key: ' + pw.get());"
    kernel.run(create)
    assert CANARY not in kernel.page and "********" in kernel.page
    assert kernel.run(f"print(pw.get() == '{CANARY[:9]}' + '{CANARY[9:]}')") == "True"


def test_a_secret_of_a_flow_is_in_no_file(kernel: Kernel) -> None:
    kernel.run(
        "@task\ndef use(p):\n    print('task', p.get())\n    raise ValueError(p.get())\n"
        "@flow(log_prints=True, flow_run_name='run {word}')\n"
        "def connect(pw: millrace.Secret, word: str):\n    print(pw.get())\n    use(pw)"
    )
    kernel.run("state = connect('secret:db', word=pw.get(), return_state=True)")
    assert kernel.error is None
    assert kernel.run("print(state.message)") == "ValueError: ********"
    wait = "import time; from millrace.engine.recorder import recorder; recorder().flush(10, logs=True); time.sleep(.3)"
    kernel.run(wait)
    run = "run = millrace.connect().read_flow_run(state.state_details.flow_run_id)"
    kernel.run(run)
    assert kernel.run("print(run.name, run.parameters)") == "run ******** {'pw': 'secret:db', 'word': '********'}"
    assert "********" in kernel.run("print([line.message for line in millrace.RunHandle(run).logs()])")
    search = (
        "print([str(f) for f in home.rglob('*') if f.is_file() and not f.is_socket()"
        " and pw.get().encode() in f.read_bytes()], any(f.name.endswith('-wal') for f in home.iterdir()))"
    )
    assert kernel.run(search) == "[] True"


def test_an_executed_notebook_keeps_its_artifacts_and_no_secret(kernel: Kernel, tmp_path: Path) -> None:
    home = kernel.run("print(os.environ['MILLRACE_HOME'])")
    book = write_book(
        tmp_path / "report.ipynb",
        "import millrace; from millrace.artifacts import create_table_artifact",
        "create_table_artifact([{'city': 'Oslo', 'n': 3}], key='cities');",
        "pw = millrace.Secret.load('db'); print(pw.get()); pw.get()",
    )
    out = tmp_path / "out.ipynb"
    outcome = run_notebook(book, output=out, environment={"MILLRACE_HOME": home, "MILLRACE_AUTOSTART": "false"})
    assert outcome.error is None, outcome.error
    assert outcome.html is not None
    for saved in (out, outcome.html):
        text = saved.read_text()
        assert "Oslo" in text and "********" in text
        assert CANARY not in text


def test_variables_in_a_cell(kernel: Kernel) -> None:
    assert kernel.run("millrace.Variable.set('size', {'n': 5})") == "Variable(name='size', value={'n': 5}, tags=[])"
    assert kernel.run("await millrace.Variable.aget('size')") == "{'n': 5}"
    kernel.run("millrace.Variable.set('size', 6)")
    assert kernel.error is not None and "overwrite=True" in kernel.error[1]
    assert kernel.run("millrace.Variable.unset('size'), millrace.Variable.get('size', 'gone')") == "(True, 'gone')"
