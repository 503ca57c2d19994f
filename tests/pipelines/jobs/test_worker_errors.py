"""An error of a worker arrives in the launcher as it was raised, with any runner, and nothing else is printed."""

import os
import signal
import time

import apache_beam as beam
import pytest
from test_resume_and_runners import job_service, running_job  # noqa: F401 - a fixture

from bert_tf.core.errors import InputError, StorageError
from pipelines.running.options import local_options
from pipelines.running.pipeline import running
from pipelines.running.worker_errors import WorkerError, sent_to_launcher

SENTENCE = """--input a "b".txt: expected text. Received: 'StorageError: x [while running Y]' of ü."""


class FailAtFirst(beam.DoFn):
    """Fails in the first attempt of a bundle."""

    def __init__(self, mark: str):
        self._mark = mark

    def process(self, element):
        with sent_to_launcher():
            if not os.path.exists(self._mark):
                open(self._mark, "w").close()
                raise StorageError("a full disk")
        yield element


@pytest.mark.parametrize("kind", [InputError, StorageError])
@pytest.mark.parametrize("where", ["launcher", "processes", "threads", "job service"])
def test_the_launcher_raises_the_error_of_the_worker(kind, where, request):
    arguments = {
        "launcher": [],
        "processes": ["--direct_num_workers=2"],
        "threads": ["--direct_num_workers=2", "--direct_running_mode=multi_threading"],
    }
    options = arguments[where] if where in arguments else request.getfixturevalue("job_service")

    def fail(_):
        with sent_to_launcher():
            raise kind(sentence)

    sentence = SENTENCE
    with pytest.raises(InputError) as raised, running(local_options(options)) as root:
        # As in every job, a shuffle comes before the first step that can fail: Beam (2.77) waits for ever if one fails
        # before all worker processes are connected.
        _ = root | beam.Create([0]) | beam.Reshuffle() | beam.Map(fail)
    assert type(raised.value) is kind
    assert str(raised.value) == SENTENCE


def test_other_errors_stay_what_they_are():
    with pytest.raises(ZeroDivisionError), running(local_options([])) as root:
        _ = root | beam.Create([0]) | beam.Map(lambda x: 1 / x)


def test_an_attempt_that_fails_can_be_repeated(tmp_path):
    """As a service does: the error is an exception, so that a runner sees that the bundle failed."""
    step = FailAtFirst(str(tmp_path / "mark"))
    with pytest.raises(WorkerError, match="a full disk"):
        list(step.process(1))
    assert list(step.process(1)) == [1]


@pytest.mark.parametrize("arguments", [[], ["--direct_num_workers=2"]])
def test_standard_error_has_progress_and_one_sentence(corpus, corpus_vocab, tmp_path, command, arguments):
    where = ["--vocab", corpus_vocab, "--output_dir", tmp_path / "out", *arguments]
    done = command("pipelines.create_pretraining_data", "--input", corpus / "0.txt", *where, "--num_shards=2")
    assert done.returncode == 0, done.stderr
    assert all(line.startswith("  ") for line in done.stderr.splitlines()), done.stderr
    (tmp_path / "bad.jsonl").write_text('{"text": "One here. Two."}\n{"broken": 1}\n')
    where[3] = tmp_path / "refused"
    refused = command("pipelines.create_pretraining_data", "--input", tmp_path / "bad.jsonl", *where)
    *progress, last = refused.stderr.splitlines()
    assert refused.returncode == 1
    assert all(line.startswith("  ") for line in progress), refused.stderr
    assert last.startswith("error: --input: expected at most 1.00% of bad records")
    assert [path.name for path in (tmp_path / "refused").iterdir()] == ["dead_letter.jsonl"]


@pytest.mark.parametrize("arguments", [[], ["--direct_num_workers=2"]])
def test_an_interrupted_job_says_how_to_resume(corpus, corpus_vocab, tmp_path, arguments):
    for attempt in range(5):
        output_dir = tmp_path / f"out{attempt}"
        with running_job(corpus, corpus_vocab, output_dir, *arguments) as process:
            while not list(output_dir.glob("pretrain-*-of-00012")):
                assert process.poll() is None
                time.sleep(0.002)
            os.killpg(process.pid, signal.SIGINT)
            output, _ = process.communicate(timeout=60)
        if process.returncode:  # else it was done before the signal came
            break
    *progress, last = output.splitlines()
    assert (process.returncode, last) == (130, "error: interrupted. Give the same command to go on.")
    assert all(line.startswith("  ") for line in progress), output
