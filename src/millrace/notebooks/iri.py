"""The stand-in of `millrace.iri`, in place before nbformat is imported."""

from __future__ import annotations

from millrace.iri import install as install
