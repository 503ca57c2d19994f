"""The benchmarks' own parts: what they import is there, and what they make of figures."""

import ast
import importlib
import json
import pathlib
import types

import pytest

from benchmarks import reproduced, results_file, tpu_table

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").rglob("*.py")), ids=lambda path: path.stem)
def test_what_they_import_of_ours_is_there(path):
    """Most of it within functions, some in environments of peers, and none of it runs in other tests."""
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


def test_ratios_are_read_from_tables():
    rows = [
        {
            "name": "**ours**",
            "precision": "float32",
            "compiled": "no",
            "s": "0.5 (0.4 to 0.6)",
            "best peer / this": "1.02",
        },
        {
            "name": "theirs",
            "precision": "float32",
            "compiled": "no",
            "s": "0.5 (0.4 to 0.6)",
            "best peer / this": "1.00",
        },
    ]
    assert reproduced.ratios("train_step", rows) == {
        "**ours**, float32, no, best peer / this": "1.02",
        "theirs, float32, no, best peer / this": "1.00",
    }
    rows = [{"text": "two", "result": "9.6 and 18.1 s: 23.69 MB/s, 1.90 times one (1.43 with start-up)"}]
    assert list(reproduced.ratios("pipeline_speed", rows).values()) == ["1.90", "1.43"]
    assert reproduced.ratios("serving", [{"tokens": "32", "texts": "1", "PyTorch / here": "**1.69**"}]) == {
        "32, 1, PyTorch / here": "1.69"
    }
    for path in results_file.FOLDER.glob("*.json"):
        found = reproduced.ratios(path.stem, json.loads(path.read_text(encoding="utf-8"))["rows"])
        assert all(float(ratio) > 0 for ratio in found.values())


@pytest.mark.parametrize(
    ("before", "now", "share", "is_far"),
    [
        ("2.00", "2.29", 0.145, False),
        ("2.00", "2.40", 0.2, True),
        ("0.08", "0.10", 0.25, False),
        ("13", "16", 0.23, True),
    ],
)
def test_a_ratio_may_differ_by_15_percent_and_its_rounding(monkeypatch, before, now, share, is_far):
    monkeypatch.setattr(reproduced, "_PERCENT", types.SimpleNamespace(value=15.0))  # flags are not parsed here
    found = reproduced.change(before, now)
    assert found == (pytest.approx(share, abs=0.005), is_far)


def test_what_is_gone_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(reproduced, "_PERCENT", types.SimpleNamespace(value=15.0))
    monkeypatch.setattr(reproduced, "_AGAINST", types.SimpleNamespace(value="HEAD"))
    monkeypatch.setattr(results_file, "FOLDER", tmp_path)
    rows = [{"name": name, "here / there": "2.00"} for name in ("one", "two")]
    monkeypatch.setattr(reproduced, "_before", lambda path: {"rows": rows})
    (tmp_path / "x.json").write_text(json.dumps({"rows": rows}))
    reproduced.main([])
    assert "2 ratios, 0 gone or further than 15%" in capsys.readouterr().out
    (tmp_path / "x.json").write_text(json.dumps({"rows": rows[:1]}))
    with pytest.raises(SystemExit, match="x: two, here / there: 2.00 -> none"):
        reproduced.main([])


def test_a_cell_of_the_preflight_table():
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
    row = list(tpu_table._row(found).values())
    assert row == ["base, 128", "v5e:2x2", "16: 3.0 of 16 GiB", "32", "1.50 T, 2.0 GB", "50.0", "320", "memory"]
    refused = [{"examples_per_core": 64, "memory": "vmem"}, {"examples_per_core": 128, "memory": "hbm"}]
    assert list(tpu_table._row({**found, "refused": refused}).values())[3] == "32; 64: vector memory"
    failed = {"network": "base, 128", "topology": "v5e:2x2", "error": "error: no compiler"}
    assert list(tpu_table._row(failed).values())[2] == "error: no compiler"


def test_results_stand_in_the_pages(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- x -->\nold\n<!-- end of x -->\nafter\n")
    monkeypatch.setattr(results_file, "FOLDER", tmp_path / "results")
    monkeypatch.setattr(results_file, "_ROOT", tmp_path)
    monkeypatch.setattr(results_file, "PAGES", (page,))
    results_file.save("x", [{"a": 1, "b": "é"}], more=2)
    table = "| a | b |\n|---|---|\n| 1 | é |"
    assert page.read_text() == f"before\n<!-- x -->\n{table}\n<!-- end of x -->\nafter\n"
    told = json.loads((tmp_path / "results/x.json").read_text())
    assert told["more"] == 2 and told["rows"] == [{"a": 1, "b": "é"}] and told["versions"]["keras"]
