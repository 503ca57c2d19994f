import json
import re
import resource
import shutil

import pytest

from bert_tf.core import skipped_batches
from bert_tf.core.errors import InputError
from bert_tf.runs import tracing
from bert_tf.text.wordpiece import Tokenizer
from bert_tf.training.data import shard_input
from bert_tf.training.data.shard_folder import ShardFolder
from tests.support.data.row_texts import block_at, document_text, segments

_LINE = re.compile(r"  ([0-9a-f]{16})  (.*), byte (\d+)  source: unknown  licence: unknown")


def printed(command, workdir, *arguments) -> dict[int, list[tuple[str, str, int]]]:
    """{row: documents as (id, file, offset)} from what the command prints."""
    done = command("bert_tf.trace", "--workdir", workdir, *arguments)
    assert done.returncode == 0, done.stderr
    found: dict[int, list] = {}
    for line in done.stdout.splitlines():
        if line.startswith("row "):
            documents = found.setdefault(int(line.split()[1].rstrip(":")), [])
        else:
            name, file, offset = _LINE.fullmatch(line).groups()
            documents.append((name, file, int(offset)))
    return found


def test_the_documents_of_20_steps_contain_the_text_of_every_row(mixed, mixed_run, corpus):
    folders = [ShardFolder.open(str(mixed / name), "data.train") for name in ("web", "books")]
    vocabulary = folders[0].vocabulary
    tokenizer = Tokenizer(vocab=vocabulary.tokens, lower_case=True)
    settings = {"global_batch_size": 8, "seed": 12345, "weights": (0.7, 0.3)}
    batches = shard_input.training_batches(folders, 0, **settings).as_numpy_iterator()
    texts: dict[tuple[str, int], str] = {}
    files, several = set(), 0
    for step in range(1, 21):
        batch = next(batches)
        rows = tracing.trace(str(mixed_run), step)
        assert [row.number for row in rows] == list(range(8))
        for row in rows:
            origins = [document.origin for document in row.documents]
            for file, _, offset, *_ in origins:
                if (file, offset) not in texts:
                    texts[file, offset] = document_text(block_at(file, offset), tokenizer)
            documents = [texts[origin.file, origin.offset] for origin in origins]
            found = segments({name: values[row.number] for name, values in batch.items()}, vocabulary)
            assert found
            for segment in found:
                assert any(segment in document for document in documents), (step, row)
            # No document is named without reason.
            for document in documents:
                assert any(segment in document for segment in found), (step, row)
            files |= {origin.file for origin in origins}
            several += len(documents) > 1
    assert files == {str(corpus / "0.txt"), str(corpus / "1.txt")}
    assert several > 80  # of 160: the rows are packed, and half of the pairs are of two documents


def test_the_command_prints_a_step_in_less_than_a_second(mixed_run, command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = printed(command, mixed_run, "--step=7")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # Of the processor, since tests share the machine.
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0
    rows = tracing.trace(str(mixed_run), 7)
    assert found == {row.number: [(d.id, d.origin.file, d.origin.offset) for d in row.documents] for row in rows}
    assert printed(command, mixed_run, "--step=7", "--row=3") == {3: found[3]}


def test_skipped_batches_move_the_steps_behind_them(mixed_run, tmp_path):
    copy = shutil.copytree(mixed_run, tmp_path / "run")
    ninth, tenth = (tracing.trace(str(mixed_run), step) for step in (9, 10))
    skipped_batches.note(str(copy), 8, 1)
    assert tracing.trace(str(copy), 8) == tracing.trace(str(mixed_run), 8)
    assert tracing.trace(str(copy), 9) == tenth
    skipped_batches.note(str(copy), 4, 0)  # a process that began again at step 4, before the fault
    assert tracing.trace(str(copy), 9) == ninth


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"step": 25}, "--step 25: expected a step of the run, from 1 to 24"),
        ({"step": 0}, "--step 0: expected a step of the run"),
        ({"step": 1, "row": 8}, "--row 8: expected a row of the batch, from 0 to 7"),
    ],
)
def test_wrong_steps_and_rows_are_refused(mixed_run, arguments, sentence):
    with pytest.raises(InputError, match=sentence):
        tracing.trace(str(mixed_run), **arguments)


def test_shards_that_changed_or_have_no_provenance_are_named(mixed, mixed_run, tmp_path):
    copy = shutil.copytree(mixed_run, tmp_path / "run")
    shutil.copytree(mixed / "web", tmp_path / "web")
    config = json.loads((copy / "config.json").read_text())
    config["data"]["train"][0] = str(tmp_path / "web")
    (copy / "config.json").write_text(json.dumps(config))
    assert len(tracing.trace(str(copy), 1)) == 8
    for path in (tmp_path / "web").glob("provenance-*"):
        path.unlink()
    with pytest.raises(InputError, match="provenance-train-.*parquet: expected the provenance of a shard. .* no such"):
        tracing.trace(str(copy), 1)
    manifest = json.loads((tmp_path / "web/dataset.json").read_text())
    manifest["shards"][0]["sha256"] = "0" * 64
    (tmp_path / "web/dataset.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="expected the shards that its run began with"):
        tracing.trace(str(copy), 1)
