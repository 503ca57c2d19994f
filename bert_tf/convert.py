"""Turns a published checkpoint into a model directory.

python -m bert_tf.convert --input uncased_L-12_H-768_A-12 --output models/bert-base

The input is a folder with a Google TF1 checkpoint (bert_config.json, bert_model.ckpt.*, vocab.txt) or a Hugging Face
one (config.json, model.safetensors, vocab.txt), told apart by what it holds. The pretraining model is written.
"""

from absl import flags

from bert_tf import command
from bert_tf.errors import InputError


def run(source: str, output: str) -> str:
    """Writes the model directory and returns the report of loaded, fresh and unused weights.

    Raises:
      InputError: neither layout, weights that do not fit, a missing head, or an output that is something else.
    """
    from bert_tf.interop import google, huggingface
    from bert_tf.modeling.pretraining import BertForPreTraining

    huggingface.check_output(output, "--output")
    if google.is_checkpoint(source):
        config, vocabulary, lower_case = google.read_config(source)
        max_seq_length, load_weights = config.max_position_embeddings, google.load_weights
    else:
        directory = huggingface.open_directory(source, "--input")
        config, vocabulary, lower_case = directory.config, directory.vocabulary, directory.lower_case
        max_seq_length, load_weights = directory.max_seq_length, huggingface.load_weights
    model = BertForPreTraining(config)
    model.build()
    report = load_weights(source, model)
    if report.fresh:
        # Written as it is, a random head would look like a trained one to whoever loads it.
        raise InputError(
            f"--input {source}: expected a pretraining checkpoint with both heads. Received one without "
            f"{', '.join(report.fresh)}; give it to bert_tf.finetune --set init_from= as it is."
        )
    huggingface.save(
        output,
        model,
        architecture="BertForPreTraining",
        vocabulary=vocabulary,
        lower_case=lower_case,
        max_seq_length=max_seq_length,
    )
    return str(report)


def main(_) -> None:
    print(run(flags.FLAGS.input, flags.FLAGS.output))
    print(f"Model directory in {flags.FLAGS.output}")


if __name__ == "__main__":
    flags.DEFINE_string("input", None, "Folder of a Google TF1 or Hugging Face checkpoint.", required=True)
    flags.DEFINE_string("output", None, "Model directory to write.", required=True)
    command.run(main)
