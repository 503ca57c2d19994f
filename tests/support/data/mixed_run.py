"""A tiny run over the two packed folders of the fixture `mixed`."""

import pathlib
import sys

SETTINGS = (
    *("train.global_batch_size=8", "train.steps=24", "train.steps_per_loop=2", "train.log_every=2"),
    *("train.evaluate_every=12", "train.evaluate_examples=16", "train.checkpoint_every=4", "train.strategy=single"),
    *("model.hidden_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2", "model.intermediate_size=32"),
    *("data.weights=0.7,0.3", "model.max_position_embeddings=64", "data.max_seq_length=none"),
)


def pretrain_command(mixed: pathlib.Path, workdir: pathlib.Path, *overrides: str) -> list[str]:
    """The command line of the run."""
    settings = (f"data.train={mixed / 'web'},{mixed / 'books'}", *SETTINGS, *overrides)
    arguments = [
        "--config",
        "configs/pretrain_tiny.py",
        "--workdir",
        str(workdir),
        *(f"--set={one}" for one in settings),
    ]
    return [sys.executable, "-m", "bert_tf.pretrain", *arguments]
