"""Workers: they claim runs of a pool and start the infrastructure that executes them."""
