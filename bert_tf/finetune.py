"""Fine-tunes a task's head on a pretrained encoder.

python -m bert_tf.finetune --config configs/finetune_classification.py --workdir runs/labels \
    --set init_from=runs/tiny/model --set data.train=train.tsv --set data.validation=validation.tsv

A run that was stopped in any way is taken up again by the same command. The result is WORKDIR/model, a model directory
in the Hugging Face layout, and WORKDIR/evaluation.json.
"""

import functools
import json
import os

from absl import flags

from bert_tf import command, config_io
from bert_tf.config import FinetuneConfig
from bert_tf.errors import InputError


def run(config: FinetuneConfig, workdir: str) -> dict[str, float]:
    """Trains to the last step, writes workdir/model and returns the scores on data.validation."""
    from bert_tf import evaluate
    from bert_tf.interop import huggingface
    from bert_tf.tasks import task_named
    from bert_tf.tokenizer import Tokenizer
    from bert_tf.training import example_input, precision, strategy
    from bert_tf.training.trainer import Batches, Trainer

    task, data, train = task_named(config.task), config.data, config.train
    worker = strategy.this_worker(train.strategy)
    distribution = strategy.create(train.strategy)
    directory = huggingface.open_directory(config.init_from, "init_from")
    if data.max_seq_length > directory.config.max_position_embeddings:
        raise InputError(
            f"data.max_seq_length={data.max_seq_length}: expected at most the "
            f"{directory.config.max_position_embeddings} positions of init_from={config.init_from}."
        )
    examples = {split: task.read_examples(data, split) for split in ("train", "validation")}
    labels = task.label_names(examples["train"][1], f"data.train={data.train}")
    tokenizer = Tokenizer(directory.vocabulary, lower_case=directory.lower_case)
    arrays = {
        split: task.features(
            *examples[split],
            names=labels,
            tokenizer=tokenizer,
            max_seq_length=data.max_seq_length,
            field=f"data.{split}={getattr(data, split)}",
        )
        for split in examples
    }
    config_io.check_settled(config, workdir)
    _settle_identity(workdir, {"labels": labels, "vocabulary_sha256": directory.vocabulary.sha256}, write=False)

    def model_fn():
        dtype = precision.policy(train.precision)
        model = task.make_model(directory.config, labels, dropout=config.classifier_dropout, dtype=dtype)
        print(f"init_from={config.init_from}: {huggingface.load_weights(config.init_from, model)}", flush=True)
        return model

    trainer = Trainer(
        model_fn,
        train=train,
        optimizer_config=config.optimizer,
        strategy=distribution,
        workdir=workdir,
        worker=worker,
    )
    if worker.is_chief:
        config_io.settle(config, workdir)
        _settle_identity(workdir, {"labels": labels, "vocabulary_sha256": directory.vocabulary.sha256}, write=True)
    batch_size = train.global_batch_size
    metrics = trainer.fit(
        Batches(
            training=functools.partial(
                example_input.training_batches, arrays["train"], global_batch_size=batch_size, seed=train.seed
            ),
            validation=functools.partial(
                example_input.validation_batches,
                {name: rows[: train.evaluate_examples] for name, rows in arrays["validation"].items()},
                global_batch_size=batch_size,
            ),
            sources=lambda first, count: f"data.train={data.train}",
        )
    )
    if not worker.is_chief:
        return metrics
    huggingface.save(
        os.path.join(workdir, "model"),
        trainer.model,
        architecture=task.ARCHITECTURE,
        vocabulary=directory.vocabulary,
        lower_case=directory.lower_case,
        max_seq_length=data.max_seq_length,
        labels=labels,
    )
    return evaluate.run(workdir)


def _settle_identity(workdir: str, identity: dict, *, write: bool) -> None:
    """Keeps what the classifier's weights mean in the workdir; a resumed run that means something else is refused."""
    path = os.path.join(workdir, "labels.json")
    if os.path.exists(path):
        there = config_io.read_json(path)
        for name, value in identity.items():
            if there.get(name) != value:
                raise InputError(
                    f"--workdir {workdir}: expected the {name} that its run began with, {there.get(name)}. "
                    f"Received: {value}."
                )
    elif write:
        with open(path + ".tmp", "w", encoding="utf-8") as file:
            json.dump(identity, file, indent=2)
        os.replace(path + ".tmp", path)


def main(_) -> None:
    config = config_io.load(flags.FLAGS.config, flags.FLAGS.set, FinetuneConfig)
    scores = run(config, flags.FLAGS.workdir)
    told = ", ".join(f"{name} {value:.4g}" for name, value in scores.items())
    print(f"Model in {os.path.join(flags.FLAGS.workdir, 'model')}; validation: {told}")


if __name__ == "__main__":
    command.define_config_flags()
    command.run(main, resumable=True)
