import fcntl
import os
import pathlib
import subprocess
import sys
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
import tensorflow as tf

from bert_tf.models.bert.config import BertConfig
from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary
from tests.support.batches import make_pretraining_batch

# Two logical CPU devices, so that MirroredStrategy has two replicas; everything else runs on the first.
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)


def pytest_collection_modifyitems(items):
    """The longest files first, so that the processes of make test end together."""
    longest = (
        "test_export",
        "test_tasks_learn",
        "test_server",
        "test_server_versions",
        "test_distributed",
        "test_end_to_end",
        "test_trainer",
        "test_finetuning",
        "test_rooms",
    )
    order = {name: place for place, name in enumerate(longest)}
    items.sort(key=lambda item: order.get(item.path.stem, len(longest)))


@pytest.fixture
def vocabulary() -> Vocabulary:
    """The specials, letters in both forms, and a few words."""
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    words = ["the", "cat", "sat", "on", "mat", "dog", "ran", ".", ",", "!", "un", "##able", "##s", "##ing"]
    pieces = [*letters, *(f"##{c}" for c in letters), *words]
    return Vocabulary((*SPECIAL_TOKENS, *dict.fromkeys(pieces)))


@pytest.fixture
def small_config() -> BertConfig:
    """Two layers, width 8, no dropout."""
    return BertConfig(
        vocab_size=50,
        hidden_size=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,
    )


@pytest.fixture
def pretraining_batch(small_config):
    """Eight rows of random features with padding, as the trainer sees them."""
    return make_pretraining_batch(small_config, rows=8)


@pytest.fixture(scope="session")
def command():
    """Runs `python -m MODULE ARGUMENTS` in the project's root and returns the finished process."""

    def run(module: str, *arguments, stdin: str | None = None) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", module, *map(str, arguments)],
            cwd=pathlib.Path(__file__).parent.parent,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def classifier(tmp_path_factory) -> str:
    """A model directory with random weights and a head."""
    from tests.support import served_models

    path = str(tmp_path_factory.mktemp("classifier") / "model")
    served_models.write(path, "classification")
    return path


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[pathlib.Path], None]) -> pathlib.Path:
    """A folder that `make` fills, made once for all test processes; not to be written to."""
    root = factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / name).exists():
            unfinished = root / f"unfinished-{name}"
            unfinished.mkdir()
            make(unfinished)
            unfinished.rename(root / name)
    return root / name


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> pathlib.Path:
    """models/TASK and served/TASK/1 of every task."""
    from bert_tf.serving.export import saved_model
    from tests.support import served_models

    folder = once(tmp_path_factory, "exported", lambda folder: None)

    def make(name: str) -> None:
        served_models.write(str(folder / "models" / name), name)
        saved_model.export(str(folder / "models" / name), str(folder / "served" / name))

    # Two processes that need them make them from both ends, and wait for each other at the last one only.
    is_second = os.environ.get("PYTEST_XDIST_WORKER") == "gw1"
    for name in reversed(served_models.TASKS) if is_second else served_models.TASKS:
        once(tmp_path_factory, f"exported-{name}", lambda done, name=name: make(name))
    return folder


@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> pathlib.Path:
    """Real English, half a megabyte: the topics of Python's own help, one document each, in three text files."""
    import pydoc_data.topics

    def make(folder: pathlib.Path) -> None:
        texts = [text.replace("\n\n", "\n") for _, text in sorted(pydoc_data.topics.topics.items())]
        for index in range(3):
            (folder / f"{index}.txt").write_text("\n\n".join(texts[index::3]))

    return once(tmp_path_factory, "corpus", make)


@pytest.fixture(scope="session")
def corpus_vocab(corpus, tmp_path_factory) -> pathlib.Path:
    """A vocabulary of 1,000 tokens of the corpus."""
    from pipelines.jobs.vocabulary_learning import build_vocab

    def make(folder: pathlib.Path) -> None:
        build_vocab(input_patterns=[str(corpus / "[0-9].txt")], output=str(folder / "vocab.txt"), vocab_size=1000)

    return once(tmp_path_factory, "corpus_vocab", make) / "vocab.txt"


@pytest.fixture(scope="session")
def shards(corpus, corpus_vocab, tmp_path_factory) -> pathlib.Path:
    """Three training shards and one of validation, length 64."""
    from pipelines.instances.pool import InstanceConfig
    from pipelines.jobs.job import JobConfig
    from pipelines.jobs.pretraining_data import create_pretraining_data

    def make(folder: pathlib.Path) -> None:
        create_pretraining_data(
            input_patterns=[str(corpus / "[0-9].txt")],
            vocab=str(corpus_vocab),
            output_dir=str(folder / "made"),
            config=JobConfig(
                instances=InstanceConfig(max_seq_length=64, max_predictions_per_seq=10),
                num_shards=3,
                validation_fraction=0.05,
            ),
        )

    return once(tmp_path_factory, "shards", make) / "made"


@pytest.fixture(scope="session")
def mixed(corpus, corpus_vocab, tmp_path_factory) -> pathlib.Path:
    """Packed shards of one layout in two folders, "web" of 0.txt and "books" of 1.txt, length 64."""
    from pipelines.instances.pool import InstanceConfig
    from pipelines.jobs.job import JobConfig
    from pipelines.jobs.pretraining_data import create_pretraining_data

    def make(folder: pathlib.Path) -> None:
        for name, text, shards in (("web", "0.txt", 3), ("books", "1.txt", 2)):
            create_pretraining_data(
                input_patterns=[str(corpus / text)],
                vocab=str(corpus_vocab),
                output_dir=str(folder / name),
                config=JobConfig(
                    instances=InstanceConfig(max_seq_length=64, max_predictions_per_seq=10, packing=True),
                    num_shards=shards,
                    validation_fraction=0.05,
                ),
            )

    return once(tmp_path_factory, "mixed", make)


@pytest.fixture(scope="session")
def mixed_run(mixed, tmp_path_factory) -> pathlib.Path:
    """The workdir of a finished run of 24 steps over `mixed`, with what it printed in out.txt; not to be written to."""
    from tests.support.data.mixed_run import pretrain_command

    def make(folder: pathlib.Path) -> None:
        root = pathlib.Path(__file__).parent.parent
        done = subprocess.run(pretrain_command(mixed, folder), cwd=root, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        (folder / "out.txt").write_text(done.stdout)

    return once(tmp_path_factory, "mixed_run", make)
