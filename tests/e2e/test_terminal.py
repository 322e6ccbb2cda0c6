"""Watching on a real terminal: lines that come and stay, nothing drawn over, a clean end by Ctrl-C."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

import pytest
from yard import Yard

from millrace.schema.states import StateType

FLOW = """
@task
def step(n):
    print(f"step {n} of a line that is longer than a terminal of sixty columns is wide")
    time.sleep(0.2)

@flow(log_prints=True)
def job(steps: int = 2):
    for n in range(steps):
        step(n)
    print("[bold]no markup[/bold]")
"""


@pytest.fixture
def yard(staffed: Yard) -> Yard:
    staffed.deployment(FLOW)
    return staffed


def typed(*words: str, columns: int = 100, interrupt_after: str | None = None) -> tuple[int, str]:
    """A command on a terminal of its own: how it ended, and everything it sent to the screen."""
    pid, screen = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm-256color"
        os.execv(sys.executable, [sys.executable, "-m", "millrace", *words])
    fcntl.ioctl(screen, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    said, deadline, interrupted = b"", time.monotonic() + 90, False
    while time.monotonic() < deadline:
        if not select.select([screen], [], [], 0.2)[0]:
            continue
        try:
            part = os.read(screen, 65536)
        except OSError:  # the other side is gone
            break
        if not part:
            break
        said += part
        if interrupt_after and not interrupted and interrupt_after.encode() in said:
            os.write(screen, b"\x03")
            interrupted = True
    _, status = os.waitpid(pid, 0)
    os.close(screen)
    return os.waitstatus_to_exitcode(status), said.decode()


DRAWN_OVER = re.compile(r"\x1b\[[\d;?]*[A-HJKSTfhlsu]|\r(?!\n)|\x08")


def test_lines_come_and_stay(yard: Yard) -> None:
    code, said = typed("deployment", "run", "job/d", "--watch", columns=60)
    assert code == 0, said
    assert not DRAWN_OVER.search(said), "nothing that is on the screen is changed"
    plain = re.sub(r"\x1b\[[\d;]*m", "", said)
    order = ["· Scheduled", "· Pending", "· Running", "step 0", "step 1", "[bold]no markup[/bold]", "· Completed"]
    places = [plain.index(text) for text in order]
    assert places == sorted(places)
    assert "longer than a terminal of sixty columns is wide\r\n" in plain, "no break in it: the terminal wraps it"
    assert plain.rstrip().endswith("✓ Completed") and "\x1b[32m" in said


def test_an_interrupt_ends_the_watching_and_not_the_run(yard: Yard) -> None:
    code, said = typed("deployment", "run", "job/d", "--watch", "-p", "steps=20", interrupt_after="step 1")
    assert code == 130 and "Traceback" not in said
    assert "Stopped watching. The run" in said and "millrace flow-run cancel" in said
    (run,) = yard.client.read_flow_runs()
    assert yard.wait(run).state_type is StateType.COMPLETED


def test_an_id_stays_in_one_piece(yard: Yard) -> None:
    run = yard.wait(yard.run(yard.client.read_deployment_by_name("job", "d").id))
    code, said = typed("flow-run", "ls")
    assert code == 0 and str(run.id) in said and not DRAWN_OVER.search(said)
