"""Turns a published checkpoint into a model directory, or puts what was learned beside a model into it.

python -m bert_tf.convert --input uncased_L-12_H-768_A-12 --output models/bert-base
python -m bert_tf.convert --input models/bert-base --adapter runs/labels/adapter --output models/labels

The input is a folder with a Google TF1 checkpoint (bert_config.json, bert_model.ckpt.*, vocab.txt) or a Hugging Face
one (config.json, model.safetensors, vocab.txt), or a workdir or model directory of this project, told apart by what it
holds. Any head that this project knows is taken along. A report says which weights were loaded and which not used.
"""

from typing import Any

from absl import flags

from bert_tf.core import command, config_io
from bert_tf.core.errors import InputError


def run(source: str, output: str, adapter: str | None = None) -> str:
    """Writes the model directory and returns the report of loaded, fresh and unused weights.

    Raises:
      InputError: neither layout, weights that do not fit, a missing head, or an output that is something else.
    """
    from bert_tf.interop import adapters, huggingface, sentence_transformers
    from bert_tf.interop.source import open_source
    from bert_tf.interop.weights import weight_names

    huggingface.check_output(output, "--output")
    opened = open_source(source, "--input")
    told = _told(opened) if adapter is None else _told_by_adapter(adapter)
    model = _model(opened, told)
    report = opened.load_weights(model)
    fresh = report.fresh
    if adapter is not None:
        # Names of weights are Hugging Face's here, whatever the source calls them.
        missing = {name for name, _, _ in weight_names(model) if opened.is_fresh(name, report)}
        fresh = sorted(missing - set(adapters.load(adapter, model)))
    if fresh:
        # Written as it is, a random head would look like a trained one to whoever loads it.
        raise InputError(
            f"--input {source}: expected a checkpoint with all weights of a {told['architecture']}. Received one "
            f"without {', '.join(fresh)}; give it to bert_tf.finetune --set init_from= as it is."
        )
    # How the base makes vectors is nothing to a head that was trained on it.
    theirs = sentence_transformers.read(opened.path) if adapter is None else None
    if theirs is not None:
        told["max_seq_length"] = theirs[1] or told["max_seq_length"]
    huggingface.save(
        output,
        model,
        vocabulary=opened.vocabulary,
        tokenizer=opened.tokenizer,
        embedding=None if theirs is None else theirs[0],
        **told,
    )
    return str(report)


def _told(opened) -> dict:
    """What the model directory is to say beside its weights: what the source says."""
    if opened.directory is None:
        return {"architecture": "BertForPreTraining", "max_seq_length": opened.max_seq_length}
    return {
        "architecture": opened.directory.architecture,
        "max_seq_length": opened.max_seq_length,
        "labels": opened.directory.labels or None,
        "problem_type": opened.directory.settings.get("problem_type"),
        "task_settings": opened.directory.task_settings or None,
    }


def _told_by_adapter(path: str) -> dict:
    from bert_tf.interop import adapters

    settings = config_io.read_json(f"{path}/{adapters.CONFIG}")
    if settings.get("peft_type") not in adapters.KINDS or not isinstance(settings.get("bert_tf"), dict):
        raise InputError(
            f"--adapter {path}: expected the adapter/ of a LoRA or adapters run of bert_tf.finetune. Received another "
            "one."
        )
    told = settings["bert_tf"]
    parts: list[tuple] = [(told, "architecture", str), (told, "max_seq_length", int)]
    if settings["peft_type"] == "LORA":
        parts += [(settings, "r", int), (settings, "lora_alpha", int | float), (settings, "target_modules", list)]
    for part, name, kind in parts:
        if not isinstance(part.get(name), kind):
            place = f"{path}/{adapters.CONFIG}: {name}"
            raise InputError(f"{place}: expected {getattr(kind, '__name__', kind)}. Received: {part.get(name)!r}.")
    return told


def _model(opened, told: dict):
    """The built model of an architecture.

    Raises:
      InputError: this project does not know it.
    """
    from bert_tf.models import heads
    from bert_tf.objectives import masked_lm as pretraining

    architecture, labels = told["architecture"], told.get("labels")
    labelled = ("BertForSequenceClassification", "BertForTokenClassification")
    headed = (*labelled, "BertForQuestionAnswering", "BertForMultipleChoice")
    pretrained = ("BertForPreTraining", "BertForMaskedLM", "BertForNextSentencePrediction", "BertModel")
    if architecture not in (*headed, *pretrained):
        known = ", ".join((*headed, *pretrained))
        raise InputError(f"--input {opened.path}: expected one of {known}. Received: {architecture}.")
    arguments: dict[str, Any] = {}
    if architecture in labelled:
        # transformers leaves the names out where they are its own default, which has two classes.
        arguments["num_labels"] = len(labels or "ab")
    if architecture == "BertModel":
        directory = opened.directory
        arguments["with_pooler"] = directory is not None and directory.has_weight("bert.pooler.dense.weight")
    if architecture in (*headed, "BertModel"):
        arguments["adapter_size"] = (told.get("task_settings") or {}).get("adapter_size")
    model = getattr(pretraining if architecture in pretrained else heads, architecture)(opened.config, **arguments)
    model.build()
    return model


def main(_) -> None:
    print(run(flags.FLAGS.input, flags.FLAGS.output, flags.FLAGS.adapter))
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
