"""Ours beside the peer and the physical limit, in one run on one machine. `make bench` writes RESULTS.md."""
