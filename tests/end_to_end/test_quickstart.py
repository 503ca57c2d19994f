import json

import pytest

from bert_tf.core.errors import InputError
from quickstart import corpus, run, tasks

SOURCE = '''"""Module text that is long enough to be kept, since it has more than one hundred characters in all of it.

    >>> an_example()

Second paragraph,
on two lines.
"""

def f():
    """Short."""

class C:
    def g(self):
        """A method whose docstring is, like that of the module, longer than the one hundred characters asked for."""
'''


def test_long_docstrings_are_found_and_become_paragraphs(tmp_path):
    (tmp_path / "a.py").write_text(SOURCE)
    first, second = corpus.docstrings_of(str(tmp_path / "a.py"))
    assert corpus.prose(first).split("\n")[1:] == ["Second paragraph, on two lines."]
    assert second.startswith("A method")
    (tmp_path / "b.py").write_text("def broken(:")
    assert corpus.docstrings_of(str(tmp_path / "b.py")) == []


def test_held_out_docstrings_are_in_no_other_file(tmp_path, monkeypatch):
    texts = [("p" if i % 3 else "q", f"docstring number {i} of a package") for i in range(600)]
    monkeypatch.setattr(corpus, "gather", lambda: texts)
    counts = corpus.write_corpus(str(tmp_path), megabytes=0.01)
    held_out = [json.loads(line)["text"] for line in (tmp_path / "labels-validation.jsonl").read_text().splitlines()]
    others = "".join(path.read_text() for path in tmp_path.iterdir() if path.name != "labels-validation.jsonl")
    assert 15 < len(held_out) == counts["labelled_validation"] < 65
    assert not [text for text in held_out if json.dumps(text) in others]
    assert counts["corpus_characters"] < 0.01e6 + 100


@pytest.fixture
def stage(tmp_path):
    """A stage that appends a line to its output each time it runs."""
    (tmp_path / "finished").mkdir()
    output = tmp_path / "out.txt"
    return run.Stage("one", ["-c", f"open({str(output)!r}, 'a').write('x')"], str(output))


def test_finished_stage_is_reused_and_says_so(tmp_path, stage, capsys):
    assert run.run_stage(stage, str(tmp_path), reuse=True)[1] is False
    assert run.run_stage(stage, str(tmp_path), reuse=True)[1] is True
    assert "reusing" in capsys.readouterr().out
    assert (tmp_path / "out.txt").read_text() == "x"


def test_stage_is_made_anew_after_a_change_or_an_earlier_stage(tmp_path, stage):
    run.run_stage(stage, str(tmp_path), reuse=True)
    assert run.run_stage(stage, str(tmp_path), reuse=False)[1] is False
    changed = stage._replace(arguments=[*stage.arguments, "more"])
    assert run.run_stage(changed, str(tmp_path), reuse=True)[1] is False
    assert (tmp_path / "out.txt").read_text() == "x"


def test_interrupted_resumable_stage_keeps_its_output(tmp_path, stage):
    failing = stage._replace(arguments=["-c", "raise SystemExit(3)"], resumable=True)
    (tmp_path / "out.txt").write_text("half")
    with pytest.raises(SystemExit):
        run.run_stage(failing, str(tmp_path), reuse=True)
    assert not (tmp_path / "out.txt").exists()
    (tmp_path / "out.txt").write_text("half")
    with pytest.raises(SystemExit):
        run.run_stage(failing, str(tmp_path), reuse=True)
    assert (tmp_path / "out.txt").read_text() == "half"


def test_folder_of_others_is_not_removed(tmp_path):
    (tmp_path / "finished").mkdir()
    (tmp_path / "finished/mine.txt").write_text("mine")
    for workdir in (tmp_path, tmp_path / "finished/mine.txt"):
        with pytest.raises(InputError, match="or one of an earlier quickstart"):
            run.run(str(workdir), fresh=True)
    assert (tmp_path / "finished/mine.txt").exists()


def test_wrong_names_are_one_sentence(tmp_path):
    with pytest.raises(InputError, match="--packages must name installed packages with docstrings. Received: nobody"):
        tasks.write(str(tmp_path), ["nobody"], 1, 1)
    with pytest.raises(InputError, match="--kinds must be some of classification, .*. Received: chess"):
        tasks.write(str(tmp_path), ["numpy"], 1, 1, ["classification", "chess"])


def test_the_commands_of_the_stages_have_such_flags(tmp_path, command):
    modules = [stage.arguments[1:] for stage in run.stages(str(tmp_path)) if stage.arguments[0] == "-m"]
    assert len(modules) == 6
    for module, *arguments in modules:
        checked = command(module, *arguments, "--only_check_args")
        assert checked.returncode == 0, f"{module}: {checked.stderr}"
    assert list(tmp_path.iterdir()) == []
