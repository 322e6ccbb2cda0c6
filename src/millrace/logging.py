"""The loggers people use: of the run that is in progress, and Millrace's own.

from millrace.logging import disable_run_logger, get_run_logger
"""

from __future__ import annotations

from millrace.engine.loggers import disable_logger, disable_run_logger, get_logger, get_run_logger

__all__ = ["disable_logger", "disable_run_logger", "get_logger", "get_run_logger"]
