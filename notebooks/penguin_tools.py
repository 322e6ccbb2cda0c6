"""A helper file beside the notebook: Millrace carries it with a deployed flow."""

import csv
from pathlib import Path


def read_penguins(path: str) -> list[dict[str, str]]:
    """The penguins that were weighed, as rows of texts."""
    with Path(path).open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["body_mass_g"] not in ("", "NA")]
