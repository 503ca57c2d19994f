"""Draws the curves of one or more runs: loss, accuracy, learning rate, throughput.

python -m bert_tf.plots --workdir runs/tiny --workdir runs/other --output curves.png

Reads metrics.jsonl, also of a run that is still going.
"""

from absl import flags

from bert_tf.core import command


def main(_) -> None:
    from bert_tf.runs import charts

    charts.draw(flags.FLAGS.workdir, flags.FLAGS.output)
    print(f"curves of {', '.join(flags.FLAGS.workdir)} in {flags.FLAGS.output}")


if __name__ == "__main__":
    flags.DEFINE_multi_string("workdir", None, "Folder of a run. May be repeated, to compare.", required=True)
    flags.DEFINE_string("output", "curves.png", "Picture to write: .png, .svg or .pdf.")
    command.run(main)
