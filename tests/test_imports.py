"""Directions of the design: dependencies point down, and a Beam worker pays only for what it needs."""

import ast
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
_BASE = {
    "bert_tf.core.config",
    "bert_tf.core.config_io",
    "bert_tf.core.errors",
    "bert_tf.core.records",
    "bert_tf.text.vocabulary",
} | {
    "bert_tf.core.config_finetune",
    "bert_tf.text.tokenizer_config",
    "bert_tf.core.record_files",
    "bert_tf.core.tfds_name",
    "bert_tf.core.whole_file",
}
# The tokenizer's own modules, but for words, are nobody else's; serving works on tokens in the graph as it does.
_SHARED = _BASE | {"bert_tf.text.wordpiece", "bert_tf.text.words", "bert_tf.core.command"}
# What each room may import of bert_tf, beside itself. serving loads fine-tuned models, so it knows interop and tasks.
_ALLOWED = {
    "modeling": _BASE,
    "training": _SHARED | {"bert_tf.modeling"},
    "tasks": _SHARED | {"bert_tf.modeling"},
    "interop": _SHARED | {"bert_tf.modeling"},
    "serving": _SHARED | {"bert_tf.text.segments"} | {"bert_tf.modeling", "bert_tf.interop", "bert_tf.tasks"},
    "tpu": _SHARED | {"bert_tf.modeling", "bert_tf.training", "bert_tf.tasks", "bert_tf.interop"},
    "pipelines": _SHARED,
    "configs": {"bert_tf.core.config", "bert_tf.core.config_finetune"},
}


def imported_names(path: pathlib.Path) -> set[str]:
    """Modules that a file imports anywhere, functions included; `from bert_tf import x` counts as bert_tf.x."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            whole = {"bert_tf", "pipelines", "bert_tf.training", "bert_tf.interop", "bert_tf.serving"}
            names |= {f"{node.module}.{a.name}" for a in node.names} if node.module in whole else {node.module}
    return names


@pytest.mark.parametrize("room", _ALLOWED)
def test_room_imports_only_what_lies_below(room):
    folder = ROOT / room if room in ("pipelines", "configs") else ROOT / "bert_tf" / room
    own = room if room in ("pipelines", "configs") else f"bert_tf.{room}"
    files = sorted(folder.rglob("*.py"))
    assert files
    for path in files:
        for name in imported_names(path):
            if name.split(".")[0] not in ("bert_tf", "pipelines", "configs", "quickstart"):
                continue
            allowed = {own} | _ALLOWED[room]
            assert any(name == a or name.startswith(a + ".") for a in allowed), (
                f"{path.relative_to(ROOT)} imports {name}"
            )


def test_bert_tf_never_imports_pipelines_or_configs():
    for path in (ROOT / "bert_tf").rglob("*.py"):
        assert not {n for n in imported_names(path) if n.split(".")[0] in ("pipelines", "configs", "quickstart")}, path


def test_foundations_need_the_standard_library_only():
    for name in ("config", "config_finetune", "config_io", "errors", "tokenizer_config", "vocabulary", "whole_file"):
        for module in imported_names(ROOT / "bert_tf" / f"{name}.py"):
            assert module.split(".")[0] in sys.stdlib_module_names | {"bert_tf"}, f"{name}.py imports {module}"


def test_no_file_is_called_utils():
    assert not [p for room in ("bert_tf", "pipelines", "tests") for p in (ROOT / room).rglob("utils.py")]
    assert (ROOT / "bert_tf" / "__init__.py").read_text() == ""


def loaded_after(statement: str) -> set[str]:
    """Top-level and bert_tf modules in a fresh process after a statement."""
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(process.stdout.split())


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import bert_tf", {"numpy", "tensorflow", "keras", "absl"}),
        ("import bert_tf.core.config, bert_tf.core.config_io", {"numpy", "tensorflow", "keras", "absl"}),
        ("import bert_tf.core.records", {"tensorflow", "keras"}),
        ("import pipelines.create_pretraining_data", {"tensorflow", "apache_beam"}),
        ("import pipelines.build_vocab", {"tensorflow", "apache_beam"}),
        ("import pipelines.jobs.pretraining_data", {"tensorflow", "keras", "bert_tf.training", "bert_tf.modeling"}),
        ("import pipelines.jobs.vocabulary_learning", {"tensorflow", "keras", "bert_tf.training", "bert_tf.modeling"}),
        (
            "import pipelines.instances.pool",
            {"bert_tf.training", "bert_tf.modeling", "bert_tf.tasks", "bert_tf.interop"},
        ),
        ("import bert_tf.pretrain, bert_tf.finetune, bert_tf.serve", {"tensorflow", "keras", "apache_beam"}),
    ],
)
def test_importing_does_not_drag_along(statement, absent):
    assert not loaded_after(statement) & absent


def test_modeling_uses_keras_and_no_other_library():
    for path in (ROOT / "bert_tf" / "modeling").glob("*.py"):
        outside = {n.split(".")[0] for n in imported_names(path)} - {"bert_tf", "keras"} - sys.stdlib_module_names
        assert not outside, f"{path.name} imports {outside}"
