"""The rooms of pipelines/ import one another downward only, and so do the files in each room."""

import ast
import graphlib
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[2]
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "pipelines").rglob("*.py"))
    if path.name != "__init__.py"
}
# What each room may import beside itself. The commands may import every room.
BELOW = {
    "jobs": {"instances", "filtering", "prediction", "writing", "reading", "running"},
    "prediction": {"writing", "reading", "running"},
    "instances": {"reading"},
    "filtering": {"reading", "running"},
    "writing": {"reading", "running"},
    "reading": {"running"},
    "running": set(),
}


def imports_of(path: pathlib.Path) -> set[str]:
    """Modules of pipelines that a file imports anywhere, functions included."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names & set(FILES)


def test_the_top_level_holds_commands_only():
    commands = [path for name, path in FILES.items() if name.count(".") == 1]
    assert commands
    for path in commands:
        assert 'if __name__ == "__main__":\n    command.run(' in path.read_text(), path
    assert {name.split(".")[1] for name in FILES if name.count(".") == 2} == set(BELOW)


@pytest.mark.parametrize("room", BELOW)
def test_a_room_imports_only_what_lies_below(room):
    for name, path in FILES.items():
        if name.startswith(f"pipelines.{room}."):
            assert {found.split(".")[1] for found in imports_of(path)} <= BELOW[room] | {room}, name


def test_there_are_no_cycles():
    graphlib.TopologicalSorter({name: imports_of(path) for name, path in FILES.items()}).prepare()
    graphlib.TopologicalSorter(BELOW).prepare()
