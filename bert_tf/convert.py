"""Turns a published checkpoint into a model directory, or puts what was learned beside a model into it.

python -m bert_tf.convert --input uncased_L-12_H-768_A-12 --output models/bert-base
python -m bert_tf.convert --input models/bert-base --adapter runs/labels/adapter --output models/labels

The input is a folder with a Google TF1 checkpoint (bert_config.json, bert_model.ckpt.*, vocab.txt) or a Hugging Face
one (config.json, model.safetensors, vocab.txt), or a workdir or model directory of this project, told apart by what it
holds. Any head that this project knows is taken along. A report says which weights were loaded and which not used.
"""

from absl import flags

from bert_tf.core import command


def main(_) -> None:
    from bert_tf.runs import conversion

    print(conversion.run(flags.FLAGS.input, flags.FLAGS.output, flags.FLAGS.adapter))
    print(f"Model directory in {flags.FLAGS.output}")


if __name__ == "__main__":
    flags.DEFINE_string(
        "input", None, "Folder of a checkpoint: Google TF1, Hugging Face or this project.", required=True
    )
    flags.DEFINE_string("output", None, "Model directory to write.", required=True)
    flags.DEFINE_string(
        "adapter",
        None,
        "WORKDIR/adapter of a run with LoRA, which is merged into the input, or with adapters, which are added.",
    )
    command.run(main)
