"""What a benchmark found: JSON in benchmarks/results, its table in docs/results.md and README.md, and a picture."""

import importlib.metadata
import json
import os
import pathlib
import platform
import re
import sys

FOLDER = pathlib.Path(__file__).parent / "results"
_ROOT = FOLDER.parent.parent
PAGES = (_ROOT / "docs" / "results.md", _ROOT / "README.md")
IMAGES = _ROOT / "docs" / "images" / "results"  # beside the screenshots of the pages
_PACKAGES = ("tensorflow", "keras", "tensorflow-text", "apache-beam")


def save(
    name: str,
    rows: list[dict[str, object]],
    versions: dict[str, str] | None = None,
    bars: tuple[str, dict[str, dict[str, float]]] | None = None,
    **more,
) -> None:
    """Writes benchmarks/results/NAME.json and puts the table between a page's two comments of that name.

    Args:
      name: of the figure.
      rows: {column: what stands there}, the same columns in all.
      versions: of the peers.
      bars: what docs/images/results/NAME.png shows: the axis, and {group: {name: value}}.
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
    print(f"written: {path.relative_to(_ROOT)}", flush=True)
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(f"{re.escape(marks[0])}.*?{re.escape(marks[1])}", re.DOTALL)
    new = f"{marks[0]}\n{table(rows)}\n{marks[1]}"
    for page in PAGES:
        page.write_text(pattern.sub(lambda _: new, page.read_text(encoding="utf-8")), encoding="utf-8")
    if bars:
        draw(name, *bars)


def table(rows: list[dict[str, object]]) -> str:
    """Rows as a Markdown table."""
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    return "\n".join(lines + ["| " + " | ".join(str(value) for value in row.values()) + " |" for row in rows])


def draw(name: str, axis: str, groups: dict[str, dict[str, float]]) -> None:
    """Bars, a group of them for each key; the same names have the same colours."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = list(dict.fromkeys(name for group in groups.values() for name in group))
    figure, axes = pyplot.subplots(figsize=(8, 0.7 + 0.27 * (len(names) + 0.6) * len(groups)), layout="constrained")
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
    pyplot.close(figure)


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
