"""Notebooks as code and as runs: cells, the closure of a flow, its export as a module, and notebooks that are flows."""

from millrace import stand_ins as stand_ins
