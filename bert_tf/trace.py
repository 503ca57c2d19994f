"""Prints the documents that a pretraining step learned from: ids, files, offsets, sources, licences.

python -m bert_tf.trace --workdir runs/tiny --step 1200 --row 3

The shards must lie where the run read them, with the provenance files that the pipeline wrote beside them.
"""

from absl import flags

from bert_tf.core import command


def main(_) -> None:
    from bert_tf.runs import tracing

    print(tracing.text_of(tracing.trace(flags.FLAGS.workdir, flags.FLAGS.step, flags.FLAGS.row)))


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Of the run.", required=True)
    flags.DEFINE_integer("step", None, "Optimizer step, from 1.", required=True)
    flags.DEFINE_integer("row", None, "Row of the step's batch, from 0; default: all.")
    command.run(main)
