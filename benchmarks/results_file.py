"""Saves the numbers of a benchmark, and renders its table in docs/results.md and README.md and its picture.

benchmarks/results/NAME.json holds numbers, never formatted ones:

    {"command": ..., "machine": ..., "versions": {package: version},
     "columns": {heading: format string},
     "rows": [{"labels": {name: string}, "values": {name: number}, "ratios": {name: number}}]}

- labels: identify the row.
- values: measurements at full precision. The name states the unit: seconds, peak_gigabytes, tokens_per_second. A share
  is a fraction of 1.
- ratios: numbers without a unit that depend little on the machine. benchmarks.reproduced compares them between commits,
  by the row's labels and the ratio's name.
- columns: a cell is its column's format string, filled with the row's labels, values and ratios by str.format, or empty
  if the row lacks one of them. A row may give other columns; they replace the table's.

Other keys of the file hold numbers that are not in the table.
"""

import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import string
import sys
from collections.abc import Iterable

FOLDER = pathlib.Path(__file__).parent / "results"
_ROOT = FOLDER.parent.parent
PAGES = (_ROOT / "docs" / "results.md", _ROOT / "README.md")
IMAGES = _ROOT / "docs" / "images" / "results"
_PACKAGES = ("tensorflow", "keras", "tensorflow-text", "apache-beam")

Row = dict[str, dict]


def spread(name: str, values: list[float]) -> dict[str, float]:
    """Median, smallest and largest, as the values NAME, NAME_min and NAME_max of a row."""
    return {name: statistics.median(values), f"{name}_min": min(values), f"{name}_max": max(values)}


def row(labels: dict[str, str], *, ratios: dict[str, float] | None = None, columns=None, **values: float) -> Row:
    """A row of a table, as the module's docstring describes it.

    row({"name": "one process"}, megabytes_per_second=11.858, ratios={"one / two": 0.53})
    """
    return {"labels": labels, "values": values, "ratios": ratios or {}} | ({"columns": columns} if columns else {})


def line(label: str, result: str, *, ratios: dict[str, float] | None = None, **values: float) -> Row:
    """A row of `save_lines`: a label, and the format string of a sentence.

    line("one process, 40 MB", "{megabytes_per_second:.2f} MB/s", megabytes_per_second=11.858)
    """
    return row({"label": label}, ratios=ratios, columns={"result": result}, **values)


def save(
    name: str,
    columns: dict[str, str],
    rows: list[Row],
    *,
    versions: dict[str, str] | None = None,
    bars: tuple[str, dict[str, dict[str, float]]] | None = None,
    **more,
) -> None:
    """Writes benchmarks/results/NAME.json, and its table between the comments NAME and "end of NAME" of the pages.

    Args:
      name: of the result.
      columns: {heading: format string}.
      rows: of `row`.
      versions: of the peers' packages.
      bars: axis label and {group: {name: value}} of docs/images/results/NAME.png.
      **more: other keys of the file.
    """
    result = {
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "machine": f"{os.cpu_count()} cores, {_processor()}",
        "versions": {package: importlib.metadata.version(package) for package in _PACKAGES} | (versions or {}),
        "columns": columns,
        "rows": rows,
        **more,
    }
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{name}.json"
    text = json.dumps(result, indent=1, ensure_ascii=False, default=float)  # NumPy's numbers become floats
    path.write_text(text + "\n", encoding="utf-8")
    print(f"{table(columns, rows)}\nwritten: {path.relative_to(_ROOT)}", flush=True)
    start, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
    new = f"{start}\n{table(columns, rows)}\n{end}"
    for page in PAGES:
        page.write_text(pattern.sub(lambda _: new, page.read_text(encoding="utf-8")), encoding="utf-8")
    if bars:
        draw(name, *bars)


def save_lines(name: str, heading: str, lines: Iterable[Row]) -> None:
    """Saves a table of two columns, the labels under `heading` and the results; prints each row when it is measured."""
    columns, rows = {heading: "{label}", "result": ""}, []
    for found in lines:
        print(": ".join(_cells(columns, found)), flush=True)
        rows.append(found)
    save(name, columns, rows)


def table(columns: dict[str, str], rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    lines = [list(columns), *(_cells(columns, found) for found in rows)]
    head, *body = ("| " + " | ".join(cells) + " |" for cells in lines)
    return "\n".join([head, "|" + "---|" * len(columns), *body])


def _cells(columns: dict[str, str], found: Row) -> list[str]:
    fields = dict(**found["labels"], **found["values"], **found["ratios"])  # raises TypeError if two have the same name
    cells = []
    for text in (columns | found.get("columns", {})).values():
        names = {name for _, name, _, _ in string.Formatter().parse(text) if name}
        cells.append(text.format_map(fields) if names <= fields.keys() else "")
    return cells


def draw(name: str, axis: str, groups: dict[str, dict[str, float]]) -> None:
    """Draws groups of horizontal bars; a name has the same colour in every group."""
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    figure = Figure(figsize=(8, 0.7 + 0.27 * (len(names) + 0.6) * len(groups)), layout="constrained")
    axes = figure.subplots()
    for number, label in enumerate(names):
        places = [place * (len(names) + 0.6) + number for place in range(len(groups))]
        values = [group.get(label, 0.0) for group in groups.values()]
        drawn = axes.barh(places, values, height=0.9, label=label)
        axes.bar_label(drawn, fmt="%.3g", padding=3, fontsize=8)
    middle = (len(names) - 1) / 2
    axes.set_yticks([place * (len(names) + 0.6) + middle for place in range(len(groups))], list(groups))
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(axis)
    axes.legend(fontsize=8)
    IMAGES.mkdir(parents=True, exist_ok=True)
    figure.savefig(IMAGES / f"{name}.png", dpi=100)


def _module() -> str:
    """Name of the module that runs as __main__."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else sys.argv[0]


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.split(":")[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
