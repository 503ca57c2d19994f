"""metrics.jsonl, what a run tells of itself. Standard library only."""

import json
import os


def read_metrics(workdir: str) -> list[dict]:
    """All complete lines of a run's metrics.jsonl."""
    with open(os.path.join(workdir, "metrics.jsonl"), encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.endswith("\n")]
