"""What of the Prefect 3 REST API this version does not have."""

from __future__ import annotations

NOT_YET: tuple[tuple[str, str], ...] = (
    ("/block_capabilities", "a list of what blocks can do"),
    ("/saved_searches", "saved searches"),
    ("/task_workers", "background tasks"),
    ("/ui", "the pages of a web interface"),
)
"""Parts of the Prefect 3 REST API that this version refuses with 501: paths that begin so, and what they are about."""
