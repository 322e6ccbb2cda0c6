"""A program that measures a thing whenever it is asked to, so that several can take turns under the same load."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

SERVE = '''
import gc, json, resource, sys, time

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

collected = 0.0

def note(phase, info):
    """Sums what the collector of garbage costs."""
    global collected
    collected += time.thread_time() if phase == "stop" else -time.thread_time()

gc.callbacks.append(note)

def serve(once):
    """Says that it is ready; then answers each number on a line: milliseconds and kilobytes for each of so many."""
    global collected
    print("RESULT[]", flush=True)
    for line in sys.stdin:
        n = int(line)
        gc.collect()
        collected = 0.0
        before, start = peak(), time.perf_counter()
        spent, worked = once(n)
        whole = time.perf_counter() - start
        found = [1000 * spent / n, 1000 * worked / n, 1000 * whole / n, (peak() - before) / n, 1000 * collected / n]
        print("RESULT" + json.dumps(found), flush=True)
'''
"""What a program begins with. `once(n)` gives the seconds of a span and of processor time in it."""

Measured = list[float]


class Contender:
    """One of those that are measured beside each other, in a process of its own.

    Args:
        python: its interpreter.
        text: its program, which calls `serve(once)`.
        script: the file to put it in.
        env: its environment.
        patience: the seconds one answer may take; who takes longer is out.
    """

    def __init__(self, python: str | Path, text: str, script: Path, env: dict[str, str], patience: float) -> None:
        self.out = False
        self._patience = patience
        script.write_text(SERVE + text)
        self._errors = script.with_suffix(".err")
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [str(python), str(script)], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
            )

    def __enter__(self) -> Self:
        self._answer()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def measure(self, n: int) -> Measured | None:
        """What each of n costs; None if it is out.

        Milliseconds of the span, of processor time in it, and of the whole; KB of memory; milliseconds of the collector
        of garbage in the whole.

        Args:
            n: of how many.
        """
        if self.out:
            return None
        asked = self._process.stdin
        assert asked is not None
        asked.write(b"%d\n" % n)
        asked.flush()
        return self._answer()

    def _answer(self) -> Measured | None:
        told = self._process.stdout
        assert told is not None
        while select.select([told], [], [], self._patience)[0]:
            line = told.readline()
            if not line:
                raise RuntimeError(f"it ended with {self._process.wait()}: {self._errors.read_text()[-3000:]}")
            if line.startswith(b"RESULT"):
                found: Measured = json.loads(line[len(b"RESULT") :])
                return found
        self.close()
        return None

    def close(self) -> None:
        """Lets it end."""
        self.out = True
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
