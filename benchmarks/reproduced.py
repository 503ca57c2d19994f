"""Compares the ratios of the latest benchmarks with those of a commit: the last step of `make bench`.

python -m benchmarks.reproduced                 against the last commit; --against for another one

A ratio ("ratios" in benchmarks/results/*.json) may differ by --percent, since rates drift with the machine. Fails if
one differs by more or is gone, and lists them. A commit whose files have no "ratios" has nothing to compare.
"""

import json
import pathlib
import subprocess

from absl import app, flags

from benchmarks import results_file

_AGAINST = flags.DEFINE_string("against", "HEAD", "Commit to compare with.")
_PERCENT = flags.DEFINE_float("percent", 15.0, "Largest difference of a ratio in percent, its rounding apart.")
_ROUNDING = 0.01  # ratios of older results have two decimals


def ratios(rows: list[results_file.Row]) -> dict[str, float]:
    """{"label, label, name": ratio} of all rows."""
    return {
        ", ".join([*row["labels"].values(), name]): ratio
        for row in rows
        for name, ratio in row.get("ratios", {}).items()
    }


def change(before: float, now: float) -> tuple[float, bool]:
    """The relative difference of a ratio, and whether it is too large."""
    return now / before - 1, abs(now - before) > _PERCENT.value / 100 * before + _ROUNDING


def _before(path: pathlib.Path) -> dict:
    """The file as committed; without rows if the commit does not have it."""
    place = f"{_AGAINST.value}:./{path.name}"
    done = subprocess.run(["git", "show", place], cwd=path.parent, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {"rows": []}


def main(_) -> None:
    count, far = 0, []
    for path in sorted(results_file.FOLDER.glob("*.json")):
        before, now = ratios(_before(path)["rows"]), ratios(json.loads(path.read_text(encoding="utf-8"))["rows"])
        changes = [(*change(old, now[name]), name, old) for name, old in before.items() if name in now]
        count += len(changes)
        far += [f"{path.stem}: {name}: {old:.2f} -> none" for name, old in before.items() if name not in now]
        far += [f"{path.stem}: {name}: {old:.2f} -> {now[name]:.2f}" for _, is_far, name, old in changes if is_far]
        if changes:
            share, _, name, old = max(changes, key=lambda item: abs(item[0]))
            furthest = f"{old:.2f} -> {now[name]:.2f} ({share:+.0%}), {name}"
            print(f"{path.stem}: {len(changes)} ratios, furthest {furthest}")
    print(f"{count} ratios, {len(far)} gone or further than {_PERCENT.value:g}% from those of {_AGAINST.value}")
    if far:
        raise SystemExit("\n".join(far))


if __name__ == "__main__":
    app.run(main)
