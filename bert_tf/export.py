"""Exports a fine-tuned model as a SavedModel for TF Serving.

python -m bert_tf.export --model runs/labels/model --output models/labels

Writes models/labels/1, then 2, and so on. The signature serving_default takes strings ("text") and returns labels and
probabilities; the tokenizer is in the graph.
"""

from absl import flags

from bert_tf import command


def main(_) -> None:
    from bert_tf.serving import saved_model

    print(f"SavedModel in {saved_model.export(flags.FLAGS.model, flags.FLAGS.output)}")


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Model directory of a fine-tuned model.", required=True)
    flags.DEFINE_string("output", None, "Folder for versions, such as models/NAME.", required=True)
    command.run(main)
