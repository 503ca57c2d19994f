"""Tests of the benchmarks: their imports, their results and tables, the comparison of ratios."""

import ast
import importlib
import json
import pathlib
import re
import types

import numpy as np
import pytest

from benchmarks import reproduced, results_file, tpu_table

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_imports_of_the_project_exist(path):
    """Most imports are within functions or run in the peers' environments, so no other test reaches them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or node.module.split(".")[0] not in (
            "bert_tf",
            "pipelines",
            "quickstart",
        ):
            continue
        module = importlib.import_module(node.module)
        for alias in node.names:
            if not hasattr(module, alias.name):
                importlib.import_module(f"{node.module}.{alias.name}")


def _row(labels, values=None, ratios=None, **columns):
    return {"labels": labels, "values": values or {}, "ratios": ratios or {}, "columns": columns}


def test_ratios_are_named_by_labels():
    rows = [
        _row({"name": "**ours**", "compiled": "no"}, {"seconds": 0.5}, {"peer / this": 1.02, "other / this": 2}),
        _row({"name": "theirs", "compiled": "no"}),
    ]
    assert reproduced.ratios(rows) == {"**ours**, no, peer / this": 1.02, "**ours**, no, other / this": 2}
    assert reproduced.ratios([{"name": "formatted strings", "s": "0.5 (0.4 to 0.6)"}]) == {}


@pytest.mark.parametrize("path", sorted(results_file.FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_committed_results_hold_numbers_and_their_tables_stand_in_the_pages(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    keys = set()
    for row in result["rows"]:
        assert all(isinstance(label, str) for label in row["labels"].values())
        assert all(isinstance(number, int | float) for number in [*row["values"].values(), *row["ratios"].values()])
        assert all(ratio > 0 for ratio in row["ratios"].values())
        keys.add(tuple(row["labels"].values()))
    assert len(keys) == len(result["rows"])  # labels identify a row
    table = results_file.table(result["columns"], result["rows"])
    block = re.compile(f"<!-- {path.stem} -->\n(.*?)\n<!-- end of {path.stem} -->", re.DOTALL)
    found = [text for page in results_file.PAGES for text in block.findall(page.read_text(encoding="utf-8"))]
    assert found and set(found) == {table}


@pytest.mark.parametrize(
    ("before", "now", "share", "is_far"),
    [
        (2.0, 2.29, 0.145, False),
        (2.0, 2.4, 0.2, True),
        (2.0, 1.6, -0.2, True),
        (0.08, 0.1, 0.25, False),
        (13, 16, 0.23, True),
    ],
)
def test_a_ratio_may_differ_by_15_percent_and_its_rounding(monkeypatch, before, now, share, is_far):
    monkeypatch.setattr(reproduced, "_PERCENT", types.SimpleNamespace(value=15.0))  # flags are not parsed here
    found = reproduced.change(before, now)
    assert found == (pytest.approx(share, abs=0.005), is_far)


def test_missing_ratios_are_reported(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduced, "_PERCENT", types.SimpleNamespace(value=15.0))
    monkeypatch.setattr(reproduced, "_AGAINST", types.SimpleNamespace(value="HEAD"))
    monkeypatch.setattr(results_file, "FOLDER", tmp_path)
    rows = [_row({"name": name}, ratios={"here / there": 2}) for name in ("one", "two")]
    monkeypatch.setattr(reproduced, "_before", lambda path: {"rows": rows})
    (tmp_path / "x.json").write_text(json.dumps({"rows": rows}))
    reproduced.main([])
    assert "2 ratios, 0 gone or further than 15%" in capsys.readouterr().out
    (tmp_path / "x.json").write_text(json.dumps({"rows": rows[:1]}))
    with pytest.raises(SystemExit, match="x: two, here / there: 2.00 -> none"):
        reproduced.main([])


def test_row_of_the_preflight_table():
    found = {
        "network": "base, 128",
        "topology": "v5e:2x2",
        "argument_bytes": 2**30,
        "temporary_bytes": 2**31,
        "output_bytes": 0,
        "hbm_bytes": 2**34,
        "examples_per_core": 16,
        "largest_examples_per_core": 32,
        "flops": 1.5e12,
        "bytes_accessed": 2e9,
        "step_seconds": 0.05,
        "examples_per_second_and_chip": 320.0,
        "bound": "memory",
        "refused": [],
    }

    def cells(cell):
        return results_file.table(tpu_table.COLUMNS, [tpu_table.row(cell)]).splitlines()[2][2:-2].split(" | ")

    assert cells(found) == [
        "base, 128",
        "v5e:2x2",
        "16: 3.0 of 16 GiB",
        "32",
        "1.50 T, 2.0 GB",
        "50.0",
        "320",
        "memory",
    ]
    refused = [{"examples_per_core": 64, "memory": "vmem"}, {"examples_per_core": 128, "memory": "hbm"}]
    assert cells({**found, "refused": refused})[3] == "32; 64: vector memory"
    failed = {"network": "base, 128", "topology": "v5e:2x2", "error": "error: no {compiler}"}
    assert cells(failed)[2:4] == ["error: no {compiler}", ""]


def test_save_writes_numbers_to_json_and_the_table_to_the_pages(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    monkeypatch.setattr(results_file, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(results_file, "_ROOT", tmp_path)
    monkeypatch.setattr(results_file, "PAGES", (page,))
    rows = [
        _row({"name": "é"}, {"seconds": np.float32(0.25)}, {"a / b": 1.234}),
        _row({"name": "{b}"}, {"seconds": 20}, {"a / b": 2}, time="{seconds} seconds"),
    ]
    results_file.save("x", {"": "{name}", "time": "{seconds:.1f} s", "a / b": "**{a / b:.2f}**"}, rows, more=2)
    table = "|  | time | a / b |\n|---|---|---|\n| é | 0.2 s | **1.23** |\n| {b} | 20 seconds | **2.00** |"
    assert page.read_text() == f"before\n<!-- x -->\n{table}\n<!-- end of x -->\nafter\n"
    result = json.loads((tmp_path / "results/x.json").read_text())
    assert result["more"] == 2 and result["rows"] == rows and result["versions"]["keras"]


def test_a_name_stands_for_one_number():
    with pytest.raises(TypeError, match="multiple values"):
        results_file.table({"a": "{x}"}, [_row({}, {"x": 1}, {"x": 2})])


def test_save_lines_prints_each_row_as_it_comes(monkeypatch, capsys):
    saved = []
    monkeypatch.setattr(results_file, "save", lambda *arguments: saved.append(arguments))

    def lines():
        yield results_file.line("one process", "{rate:.1f} MB/s", rate=2.04)
        assert capsys.readouterr().out == "one process: 2.0 MB/s\n"
        yield results_file.line("two", "{rate:.1f} MB/s, {times one:.1f} times one", rate=4, ratios={"times one": 1.96})

    results_file.save_lines("speed", "text to shards", lines())
    (name, columns, rows), *_ = saved
    assert name == "speed" and results_file.table(columns, rows).splitlines()[2:] == [
        "| one process | 2.0 MB/s |",
        "| two | 4.0 MB/s, 2.0 times one |",
    ]
