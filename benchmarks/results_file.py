"""What a benchmark found: as JSON in benchmarks/results, and as its table in docs/results.md."""

import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys

FOLDER = pathlib.Path(__file__).parent / "results"
PAGE = FOLDER.parent.parent / "docs" / "results.md"
_PACKAGES = ("tensorflow", "keras", "tensorflow-text", "apache-beam")


def save(name: str, rows: list[dict[str, object]], versions: dict[str, str] | None = None, **more) -> None:
    """Writes benchmarks/results/NAME.json and puts the table between the page's two comments of that name.

    Args:
      name: of the figure.
      rows: {column: what stands there}, the same columns in all.
      versions: of the peers.
      **more: figures that are not in the table.
    """
    found = {
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES} | (versions or {}),
        "rows": rows,
        **more,
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(table(rows))
    print(f"written: {path.relative_to(PAGE.parent.parent)}", flush=True)
    page = PAGE.read_text(encoding="utf-8")
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
    new = f"{marks[0]}\n{table(rows)}\n{marks[1]}"
    PAGE.write_text(pattern.sub(lambda _: new, page), encoding="utf-8")


def table(rows: list[dict[str, object]]) -> str:
    """Rows as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows])


def _module() -> str:
    """The module that was started."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else sys.argv[0]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
