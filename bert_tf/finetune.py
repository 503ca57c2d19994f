"""Fine-tunes a task's head on a pretrained encoder.

python -m bert_tf.finetune --config configs/finetune_classification.py --workdir runs/labels \
    --set init_from=runs/tiny/model --set data.train=train.tsv --set data.validation=validation.tsv

A run that was stopped in any way is taken up again by the same command. The result is WORKDIR/model, a model directory
in the Hugging Face layout, WORKDIR/evaluation.json and WORKDIR/predictions.jsonl. Several runs at once, each of which
is taken up likewise, with a table at the end (WORKDIR/trials.json):

    --search learning_rate=2e-5,3e-5,5e-5 epochs=2,3,4    all combinations; alone, WORKDIR/model is the best one's
    --seeds 5                                             the same run five times: mean and standard deviation
    --folds 5                                             the training data in five parts, each held out in turn
"""

import os
from collections.abc import Sequence

from absl import flags

from bert_tf.core import command, config_io
from bert_tf.core.config import FinetuneConfig
from bert_tf.core.errors import InputError


def main(arguments: Sequence[str]) -> None:
    config = config_io.load(flags.FLAGS.config, flags.FLAGS.set, FinetuneConfig)
    search = flags.FLAGS.search
    if arguments and not search:
        raise InputError(f"Expected flags only. Received the argument: {arguments[0]!r}.")
    workdir = flags.FLAGS.workdir
    if search or flags.FLAGS.seeds > 1 or flags.FLAGS.folds > 1:
        from bert_tf.runs import trials

        print(trials.run(config, workdir, [*search, *arguments], seeds=flags.FLAGS.seeds, folds=flags.FLAGS.folds))
        return
    from bert_tf.runs import finetuning

    scores = finetuning.run(config, workdir)
    told = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    print(f"Model in {os.path.join(workdir, 'model')}; validation: {told}")


if __name__ == "__main__":
    command.define_config_flags()
    flags.DEFINE_multi_string(
        "search",
        [],
        "FIELD=VALUE,VALUE: a run for every combination. More fields may follow. Short names: "
        "learning_rate, batch_size, epochs, steps, seed.",
    )
    flags.DEFINE_integer("seeds", 1, "Runs with as many seeds, the config's and those that follow.", lower_bound=1)
    flags.DEFINE_integer("folds", 1, "Parts of data.train, each of which is held out once.", lower_bound=1)
    command.run(main, resumable=True, takes_arguments=True)
