"""Serves a flow until it is told to stop."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from yard_flows import yard

if __name__ == "__main__":
    yard.serve(name="served", interval=5, limit=1, parameters={"x": 8}, tags=["served"])
