"""Evaluates a finished run on its validation data.

python -m bert_tf.evaluate --workdir runs/tiny

Works for runs of bert_tf.pretrain and bert_tf.finetune. Prints the scores and writes them to WORKDIR/evaluation.json.
Of a fine-tuned model it also writes predictions.jsonl (each example with its answer), report.txt and confusion.png.
"""

from absl import flags

from bert_tf.core import command


def main(_) -> None:
    from bert_tf.runs import evaluation

    for name, value in evaluation.run(flags.FLAGS.workdir).items():
        print(f"{name:<28} {value:.6g}")


if __name__ == "__main__":
    flags.DEFINE_string("workdir", None, "Folder of a finished run.", required=True)
    command.run(main)
