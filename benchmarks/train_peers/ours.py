"""This project's trainer, as bert_tf.pretrain runs it, on one batch again and again."""

import tempfile

from benchmarks.train_peers import timing
from bert_tf import command


def main() -> None:
    command.set_environment()
    import tensorflow as tf

    from bert_tf.config import BertConfig, OptimizerConfig, TrainConfig
    from bert_tf.metrics_file import read_metrics
    from bert_tf.modeling.pretraining import BertForPreTraining
    from bert_tf.training import precision, strategy
    from bert_tf.training.trainer import Batches, Trainer

    arguments = timing.arguments()
    batch = timing.load(arguments.batch)
    rows = len(batch["input_word_ids"])
    train = TrainConfig(
        steps=2 + arguments.steps,
        global_batch_size=rows,
        strategy="single",
        precision="float32" if arguments.precision == "float32" else "mixed_bfloat16",
        xla="on" if arguments.xla else "auto",
        steps_per_loop=1,
        log_every=1,
        checkpoint_every=1000,
        evaluate_every=1000,
    )

    def model_fn():
        model = BertForPreTraining(BertConfig(**timing.SIZES), dtype=precision.policy(train.precision))
        model.build()
        return model

    with tempfile.TemporaryDirectory() as workdir:
        trainer = Trainer(
            model_fn,
            train=train,
            optimizer_config=OptimizerConfig(learning_rate=timing.LEARNING_RATE, warmup_steps=0),
            strategy=strategy.create("single"),
            workdir=workdir,
        )
        trainer.fit(
            Batches(
                training=lambda first, worker: tf.data.Dataset.from_tensors(batch).repeat(),
                validation=None,
                sources=lambda first, count: "the batch",
            )
        )
        lines = read_metrics(workdir)
    timing.tell([rows / line["examples_per_second"] for line in lines[2:]], [line["loss"] for line in lines])


if __name__ == "__main__":
    main()
