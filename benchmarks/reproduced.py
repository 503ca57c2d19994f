"""Whether the benchmarks' latest ratios are those of before: what `make bench` ends with.

python -m benchmarks.reproduced                 against the last commit; --against for another one

Reads the ratios in the tables of benchmarks/results/*.json, as they stand there and as they were committed. Rates drift
with the machine, and ratios should not by more than --percent.
"""

import json
import pathlib
import re
import subprocess

from absl import app, flags

from benchmarks import results_file

_AGAINST = flags.DEFINE_string("against", "HEAD", "Commit whose results count as those of before.")
_PERCENT = flags.DEFINE_float("percent", 15.0, "By which a ratio may differ, beside its rounding.")
# Columns from the left that say which row it is, where it is not one; the rows may have changed their order.
_NAMES = {"train_step": 3, "serving": 2, "tpu_table": 2}
# "1.90 times one", "47.7 (0.90)", "1.90 times one (1.43 with start-up)".
_IN_WORDS = re.compile(r"([\d.]+) times|\((\d+\.\d+)(?:\)| with)")


def ratios(name: str, rows: list[dict[str, str]]) -> dict[str, str]:
    """{row, column and place: ratio as it is printed} of a table: columns headed "a / b", and ratios told in words."""
    found = {}
    for row in rows:
        labels = list(row.values())[: _NAMES.get(name, 1)]
        for column, cell in list(row.items())[len(labels) :]:
            is_ratio = re.fullmatch(r"[^,:]+ / [^,:]+", column) is not None
            numbers = re.findall(r"\d+\.?\d*", cell) if is_ratio else ["".join(m) for m in _IN_WORDS.findall(cell)]
            for place, number in enumerate(numbers):
                found[", ".join([*labels, column, *([str(place)] if place else [])])] = number
    return found


def change(before: str, now: str) -> tuple[float, bool]:
    """By how much a ratio changed, and whether that is too much, rounding left aside."""
    difference, rounding = float(now) - float(before), 10.0 ** -len(before.partition(".")[2])
    return difference / float(before), abs(difference) > _PERCENT.value / 100 * float(before) + rounding


def _before(path: pathlib.Path) -> dict | None:
    place = f"{_AGAINST.value}:./{path.name}"
    done = subprocess.run(["git", "show", place], cwd=path.parent, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def main(_) -> None:
    count, far = 0, []
    for path in sorted(results_file.FOLDER.glob("*.json")):
        before, now = _before(path), json.loads(path.read_text(encoding="utf-8"))
        there, here = (ratios(path.stem, x["rows"]) if x else {} for x in (before, now))
        changes = {what: (there[what], here[what], *change(there[what], here[what])) for what in there if what in here}
        count += len(changes)
        far += [f"{path.stem}: {what}: {old} -> none" for what, old in there.items() if what not in here]
        far += [f"{path.stem}: {what}: {old} -> {new}" for what, (old, new, _, is_far) in changes.items() if is_far]
        if changes:
            what, (old, new, share, _) = max(changes.items(), key=lambda item: abs(item[1][2]))
            print(f"{path.stem}: {len(changes)} ratios, furthest {old} -> {new} ({share:+.0%}), {what}")
    print(f"{count} ratios, {len(far)} gone or further than {_PERCENT.value:g}% from those of {_AGAINST.value}")
    if far:
        raise SystemExit("\n".join(far))


if __name__ == "__main__":
    app.run(main)
