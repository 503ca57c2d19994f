"""Times this project's training step."""

import tempfile

from benchmarks.peers import timing
from bert_tf.core import command


def main() -> None:
    command.set_environment()
    from benchmarks.peers import our_trainer
    from bert_tf.core.metrics_file import read_metrics

    arguments = timing.arguments()
    batch = timing.load(arguments.batch)
    with tempfile.TemporaryDirectory() as workdir:
        our_trainer.fit(
            batch,
            workdir,
            precision=arguments.precision,
            xla="on" if arguments.xla else "auto",
            steps=2 + arguments.steps,
            steps_per_loop=1,
            log_every=1,
        )
        lines = read_metrics(workdir)
    rows = len(batch["input_word_ids"])
    timing.report([rows / line["examples_per_second"] for line in lines[2:]], [line["loss"] for line in lines])


if __name__ == "__main__":
    main()
