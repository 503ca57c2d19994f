"""Pretrains a BERT on shards.

python -m bert_tf.pretrain --config configs/pretrain_tiny.py --workdir runs/tiny --set data.train=shards

A run that was stopped in any way is taken up again by the same command. The result is WORKDIR/model, a model directory
in the Hugging Face layout.
"""

import os

from absl import flags

from bert_tf.core import command, config_io
from bert_tf.core.config import PretrainConfig


def main(_) -> None:
    from bert_tf.runs import pretraining

    config = config_io.load(flags.FLAGS.config, flags.FLAGS.set, PretrainConfig)
    metrics = pretraining.run(config, flags.FLAGS.workdir)
    told = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    print(f"Model in {os.path.join(flags.FLAGS.workdir, 'model')}" + (f"; validation: {told}" if told else ""))


if __name__ == "__main__":
    command.define_config_flags()
    command.run(main, resumable=True)
