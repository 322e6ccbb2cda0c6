"""Images for deployments: `from millrace.docker import DockerImage`."""

from __future__ import annotations

from millrace.deployments.images import DockerImage

__all__ = ["DockerImage"]
