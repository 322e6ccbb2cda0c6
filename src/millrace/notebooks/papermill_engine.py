"""papermill's engine `millrace`: its command and its function run notebooks as we do."""

from __future__ import annotations

import importlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from millrace.notebooks.execution import MAX_OUTPUT_BYTES, Execution, NotebookRun
from millrace.notebooks.injection import kernel_name_of
from millrace.notebooks.parameters import language_of
from millrace.notebooks.stop_request import StopRequest


def _local(output_path: str) -> pathlib.Path | None:
    """Where papermill saves a notebook on this machine; None for a path that goes elsewhere, such as `s3://…`."""
    papermill_io = importlib.import_module("papermill.iorw").papermill_io
    handler, local = papermill_io.get_handler(output_path), papermill_io.get_handler("local")
    if handler is not local:
        return None
    # By now papermill stands in the directory of the run; its paths count from where it was called.
    base = local.cwd(None)
    local.cwd(base)
    return pathlib.Path(base or os.getcwd(), output_path)


class MillraceEngine:
    """papermill's engine `millrace`.

    It has the methods of `papermill.engines.Engine` and does not inherit from it: papermill loads this module while it
    is itself being loaded.
    """

    @classmethod
    def execute_notebook(
        cls,
        nb: NotebookNode,
        kernel_name: str,
        output_path: str | None = None,
        execution: Execution | None = None,
        **options: Any,
    ) -> NotebookNode:
        """Run a notebook whose parameters papermill has put in.

        Args:
            nb: the notebook; it is changed.
            kernel_name: the kernel.
            output_path: where to save it.
            execution: given by `run_notebook`, which reads the ending from it.
            options: what papermill and its user give: `execution_timeout` (seconds for each cell), `start_timeout`,
                `log_output`, `stdout_file`, `stderr_file`; `timeout`, `grace`, `max_output_bytes` as in `run_notebook`.

        Returns:
            The notebook. papermill itself raises if one of its cells failed.

        Raises:
            DeadKernelError: the kernel died.
            CellTimeoutError: the time was over.
            KeyboardInterrupt: the run was cancelled.
        """
        if execution is not None:
            execution.perform()
            return execution.nb
        path = None if output_path is None else _local(output_path)
        with StopRequest() as stop:
            execution = Execution(nb, cls._run_of(kernel_name, path, options), stop)
            ending = execution.perform()
        if output_path is not None and path is None:
            importlib.import_module("papermill.iorw").write_ipynb(execution.nb, output_path)
        message = ending.error.message if ending.error else ""
        if ending.kind == "crashed":
            raise DeadKernelError(message)
        if ending.kind == "timed_out":
            raise CellTimeoutError(message)
        if ending.kind == "cancelled":
            raise KeyboardInterrupt(message)
        return execution.nb

    @staticmethod
    def _run_of(kernel_name: str, output: pathlib.Path | None, options: Mapping[str, Any]) -> NotebookRun:
        files = {"stdout": options.get("stdout_file"), "stderr": options.get("stderr_file")}
        logger = importlib.import_module("papermill.log").logger if options.get("log_output") else None

        def on_output(text: str, name: str, index: int) -> None:
            if logger is not None:
                logger.info(text.rstrip("\n"))
            if (file := files.get(name)) is not None:
                file.write(text)
                file.flush()

        return NotebookRun(
            output=output,
            working_directory=pathlib.Path.cwd(),
            kernel_name=kernel_name,
            timeout=options.get("timeout"),
            cell_timeout=options.get("execution_timeout"),
            start_timeout=float(options.get("start_timeout", 60)),
            grace=float(options.get("grace", 10.0)),
            max_output_bytes=int(options.get("max_output_bytes", MAX_OUTPUT_BYTES)),
            on_output=on_output,
        )

    @classmethod
    def nb_kernel_name(cls, nb: NotebookNode, name: str | None = None) -> str:
        """The kernel that a notebook asks for.

        Args:
            nb: the notebook.
            name: a name that overrides it.
        """
        return kernel_name_of(nb, name)

    @classmethod
    def nb_language(cls, nb: NotebookNode, language: str | None = None) -> str:
        """The language of a notebook.

        Args:
            nb: the notebook.
            language: a language that overrides it.
        """
        return language or language_of(nb)
