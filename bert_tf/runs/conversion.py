"""A published checkpoint, or a model and what was learned beside it -> a model directory."""

from typing import Any

from bert_tf.core import config_io
from bert_tf.core.errors import InputError
from bert_tf.interop import adapters, google, huggingface, sentence_transformers
from bert_tf.interop.source import Source, open_source
from bert_tf.models.family import family_of
from bert_tf.models.model import Model, make_model

_LABELLED = ("sequence", "tokens")  # kinds of head with a number for each class


def run(source: str, output: str, adapter: str | None = None) -> str:
    """Writes the model directory and returns the report of loaded, fresh and unused weights.

    Args:
      source: folder of a Google TF1 checkpoint, a Hugging Face one, a workdir or a model directory.
      output: folder to write.
      adapter: WORKDIR/adapter of a run with LoRA or adapters; None for none.

    Raises:
      InputError: neither layout, weights that do not fit, a missing head, or an output that is something else.
    """
    huggingface.check_output(output, "--output")
    opened = open_source(source, "--input")
    told = told_by(opened) if adapter is None else _told_by_adapter(adapter)
    architecture = told.pop("architecture")
    model = model_of(opened, architecture, told)
    report = opened.load_weights(model)
    fresh = report.fresh
    if adapter is not None:
        fresh = sorted(opened.fresh_records(model, report) - set(adapters.load(adapter, model)))
    if fresh:
        # Written as it is, a random head would look like a trained one to whoever loads it.
        raise InputError(
            f"--input {source}: expected a checkpoint with all weights of a {architecture}. Received one "
            f"without {', '.join(fresh)}; give it to bert_tf.finetune --set init_from= as it is."
        )
    # How the base makes vectors is nothing to a head that was trained on it.
    theirs = None
    if adapter is None:
        theirs = sentence_transformers.read(opened.path, lower_case=opened.tokenizer.lower_case)
    if theirs is not None:
        told["max_seq_length"] = theirs[1] or told["max_seq_length"]
    huggingface.save(
        output,
        model,
        vocabulary=opened.vocabulary,
        tokenizer=opened.tokenizer,
        pooling=None if theirs is None else theirs[0],
        **told,
    )
    return str(report)


def told_by(opened: Source) -> dict[str, Any]:
    """What the model directory is to say beside its weights: what the source says."""
    if opened.directory is None:
        return {**google.head_of(opened.path), "max_seq_length": opened.max_seq_length}
    return {
        "architecture": opened.directory.architecture,
        "max_seq_length": opened.max_seq_length,
        "labels": opened.directory.labels or None,
        "problem_type": opened.directory.settings.get("problem_type"),
        "task_settings": opened.directory.task_settings or None,
    }


def _told_by_adapter(path: str) -> dict[str, Any]:
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
    return dict(told)


def model_of(opened: Source, architecture: str, told: dict) -> Model:
    """The built model of an architecture, with fresh weights.

    Raises:
      InputError: the family does not have it.
    """
    known = family_of(opened.config.model_type).architectures
    if architecture not in known:
        raise InputError(f"--input {opened.path}: expected one of {', '.join(known)}. Received: {architecture}.")
    # transformers leaves the names out where they are its own default, which has two classes.
    units = {"units": len(told.get("labels") or "ab")}
    heads = {kind: units if kind in _LABELLED else {} for kind in known[architecture]}
    with_pooler = None
    if not heads:
        with_pooler = google.has_pooler(opened.path) if opened.directory is None else opened.directory.has_pooler
    return make_model(
        opened.config,
        heads,
        with_pooler=with_pooler,
        adapter_size=(told.get("task_settings") or {}).get("adapter_size"),
    )
