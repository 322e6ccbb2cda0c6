"""Notebooks as code and as runs: cells, the closure of a flow, its export as a module, and notebooks that are flows."""

from millrace.notebooks import iri as iri
