"""Directions of the design: dependencies point down, and a Beam worker pays only for what it needs."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
# Rooms from the bottom up: each may import those below its floor, and itself.
_FLOORS = (
    ("core",),
    ("text",),
    ("models",),
    ("objectives",),
    ("training", "tasks", "interop"),
    ("serving", "preflight"),
    ("runs",),
)
_ROOMS = [room for floor in _FLOORS for room in floor]
_MOST_FILES = 16


def _below(room: str) -> set[str]:
    floor = next(number for number, rooms in enumerate(_FLOORS) if room in rooms)
    return {room, *(other for rooms in _FLOORS[:floor] for other in rooms)}


def imported_names(path: pathlib.Path) -> set[str]:
    """Modules that a file imports anywhere, functions included; `from a.b import x` counts as a.b.x."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_of(names: set[str]) -> set[str]:
    """The rooms of bert_tf among modules; a command counts by its own name."""
    return {name.split(".")[1] for name in names if name.startswith("bert_tf.")}


@pytest.mark.parametrize("room", _ROOMS)
def test_a_room_imports_only_what_lies_below(room):
    files = sorted((ROOT / "bert_tf" / room).rglob("*.py"))
    assert files
    for path in files:
        outside = rooms_of(imported_names(path)) - _below(room)
        assert not outside, f"{path.relative_to(ROOT)} imports {', '.join(sorted(outside))}"


def test_every_room_is_on_a_floor():
    folders = {path.parent.name for path in (ROOT / "bert_tf").glob("*/__init__.py")}
    assert folders == set(_ROOMS)


def test_commands_import_no_other_command():
    commands = {path.stem for path in (ROOT / "bert_tf").glob("*.py")} - {"__init__"}
    for name in commands:
        outside = rooms_of(imported_names(ROOT / "bert_tf" / f"{name}.py")) - {"core", "runs", "serving"}
        assert not outside, f"{name}.py imports {', '.join(sorted(outside))}"


def test_pipelines_import_only_core_and_text():
    for path in (ROOT / "pipelines").rglob("*.py"):
        outside = rooms_of(imported_names(path)) - {"core", "text"}
        assert not outside, f"{path.relative_to(ROOT)} imports {', '.join(sorted(outside))}"


def test_pipelines_touch_files_through_one_module():
    """Beam's file systems write no empty objects, retry for minutes, and get no options in worker processes."""
    for path in (ROOT / "pipelines").rglob("*.py"):
        if path.parent != ROOT / "pipelines" / "running":
            assert "apache_beam.io.filesystems.FileSystems" not in imported_names(path), path.relative_to(ROOT)


def test_bert_tf_never_imports_pipelines_or_configs():
    for path in (ROOT / "bert_tf").rglob("*.py"):
        assert not {n for n in imported_names(path) if n.split(".")[0] in ("pipelines", "configs", "quickstart")}, path


def test_configs_import_only_configs():
    for path in (ROOT / "configs").glob("*.py"):
        for name in imported_names(path):
            assert name.rsplit(".", 1)[1].endswith("Config") or name.endswith(".preset"), f"{path.name}: {name}"


def _cycle(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one cycle of imports, [] if there is none."""
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return way[way.index(name) :]
        if name in done:
            return []
        done.add(name)
        return next((found for other in sorted(graph[name]) if (found := visit(other, [*way, name]))), [])

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


@pytest.mark.parametrize("package", ["bert_tf", "pipelines"])
def test_modules_import_one_another_without_cycles(package):
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / package).rglob("*.py")}
    graph = {}
    for name, path in modules.items():
        found = {part for other in imported_names(path) for part in (other, other.rpartition(".")[0])}
        graph[name] = (found & set(modules)) - {name}
    assert not _cycle(graph)


def test_names_of_weights_are_spelled_in_their_family_only():
    """Other rooms read the records of weights; Google's names are mapped from BERT's."""
    allowed = {ROOT / "bert_tf/interop/google.py", *(ROOT / "bert_tf/models/bert").glob("*.py")}
    for path in (ROOT / "bert_tf").rglob("*.py"):
        if path not in allowed:
            text = path.read_text()
            assert '"bert.' not in text and "attention.self" not in text, path


@pytest.mark.parametrize("package", ["bert_tf", "pipelines", "tests", "benchmarks", "quickstart"])
def test_no_room_is_crowded_and_no_file_is_called_utils(package):
    folders = [ROOT / package, *(path for path in (ROOT / package).rglob("*") if path.is_dir())]
    for folder in folders:
        files = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
        assert len(files) <= _MOST_FILES, f"{folder} has {len(files)} files"
    assert not list((ROOT / package).rglob("utils.py"))
    assert (ROOT / "bert_tf" / "__init__.py").read_text() == ""


def loaded_after(statement: str) -> set[str]:
    """Top-level and bert_tf modules in a fresh process after a statement."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(process.stdout.split())


_HEAVY = {"tensorflow", "keras", "apache_beam"}
_UPSTAIRS = {"bert_tf.models", "bert_tf.training", "bert_tf.tasks", "bert_tf.interop"}


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import bert_tf", {"numpy", "absl", *_HEAVY}),
        ("import bert_tf.core.config, bert_tf.core.config_io", {"numpy", "absl", *_HEAVY}),
        ("import bert_tf.models.bert.config, bert_tf.text.tokenizer", {"numpy", *_HEAVY}),
        ("import bert_tf.core.records", _HEAVY),
        ("import bert_tf.trace, bert_tf.runs.tracing, bert_tf.mixture", _HEAVY),
        ("import pipelines.create_pretraining_data", _HEAVY),
        ("import pipelines.build_vocab", _HEAVY),
        ("import pipelines.jobs.pretraining_data", {"tensorflow", "keras", *_UPSTAIRS}),
        ("import pipelines.instances.pool", _UPSTAIRS),
        ("import pipelines.predict", _HEAVY),
        ("import pipelines.jobs.bulk_prediction", {"tensorflow", "keras", *_UPSTAIRS}),
        ("import bert_tf.pretrain, bert_tf.finetune, bert_tf.serve, bert_tf.preflight.__main__", _HEAVY),
    ],
)
def test_importing_does_not_drag_along(statement, absent):
    assert not loaded_after(statement) & absent


def test_workers_load_tensorflow_without_what_no_step_uses():
    load = "from pipelines.running.tensorflow import load_tensorflow; load_tensorflow()"
    found = loaded_after(f"{load}; import tensorflow_text; import sklearn")
    assert {"tensorflow", "tensorflow_text", "sklearn"} <= found
    assert not {"jax", "matplotlib"} & found


@pytest.mark.parametrize("room", ["models", "objectives"])
def test_networks_and_objectives_use_keras_and_no_other_library(room):
    for path in (ROOT / "bert_tf" / room).rglob("*.py"):
        outside = {n.split(".")[0] for n in imported_names(path)} - {"bert_tf", "keras"} - sys.stdlib_module_names
        assert not outside, f"{path.name} imports {outside}"
