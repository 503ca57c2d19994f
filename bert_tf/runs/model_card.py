"""The model card of a run: README.md in its model directory, generated from the files of the workdir."""

import collections
import json
import os
from collections.abc import Mapping

from bert_tf.core import card, config_io, records, whole_file

# Ends of transformers' names of architectures -> the Hub's name of the task.
_PIPELINE_TAGS = {
    "ForMaskedLM": "fill-mask",
    "ForPreTraining": "fill-mask",
    "ForSequenceClassification": "text-classification",
    "ForTokenClassification": "token-classification",
    "ForQuestionAnswering": "question-answering",
    "ForMultipleChoice": "multiple-choice",
    "Model": "feature-extraction",
}


def write(workdir: str, scores: Mapping[str, float]) -> None:
    """Writes the card of workdir/model; the same bytes for the same config, data and scores.

    A licence that somebody filled in stays.

    Args:
      workdir: of a finished run.
      scores: of its evaluation, {} for none.

    Raises:
      StorageError: it cannot be written.
    """
    config = config_io.read_json(os.path.join(workdir, "config.json"))
    text = _text(config, config_io.read_json(os.path.join(workdir, "model", "config.json")), scores)
    path = os.path.join(workdir, "model", card.NAME)
    if os.path.exists(path):
        with open(path, encoding="utf-8") as file:
            text = card.with_licence_of(file.read(), text)
    with whole_file.replacing(path) as file:
        file.write(text)


def _text(config: dict, network: dict, scores: Mapping[str, float]) -> str:
    architecture = (network.get("architectures") or [""])[0]
    tag = next((tag for end, tag in _PIPELINE_TAGS.items() if architecture.endswith(end)), None)
    front = {
        "library_name": "transformers",
        **({"pipeline_tag": tag} if tag else {}),
        "tags": ["bert_tf", network.get("model_type", "bert")],
    }
    is_task = "task" in config
    data = config["data"]
    folders = [] if is_task else [data["train"]] if isinstance(data["train"], str) else data["train"]
    manifests = {folder: _manifest(folder) for folder in folders}
    licences: collections.Counter = collections.Counter()
    for manifest in manifests.values():
        for shard in manifest.get("shards", []):
            licences.update(shard.get("provenance", {}).get("licences", {}))
    sections = [
        ("Model", _network(config, network, architecture)),
        ("Training data", _task_data(data) if is_task else _shards(manifests, data)),
        ("Licences of the training data", _OF_TASK if is_task else card.licence_section(licences)),
        ("Evaluation", _scores(scores)),
        ("Settings", f"```json\n{json.dumps(config, indent=2, ensure_ascii=False)}\n```"),
    ]
    # The licence of a model does not follow from that of its data: the field stays open.
    return card.card(f"{config['task']} model" if is_task else "Pretrained model", front, {}, sections)


_OF_TASK = "Not known. Check the licences of the files above, then fill in `license`."


def _network(config: dict, network: dict, architecture: str) -> str:
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "max_position_embeddings")
    rows = [("architecture", architecture), *((name, network[name]) for name in names if name in network)]
    if config.get("init_from"):
        rows.append(("started from", f"`{config['init_from']}`"))
    if labels := network.get("id2label"):
        rows.append(("labels", ", ".join(labels.values())))
    return card.table(["", "value"], rows)


def _task_data(data: dict) -> str:
    return card.table(["split", "file"], [(split, f"`{data[split]}`") for split in ("train", "validation")])


def _shards(manifests: dict[str, dict], data: dict) -> str:
    rows = []
    weights = data.get("weights") or ["by size"] * len(manifests)
    for (folder, manifest), weight in zip(manifests.items(), weights, strict=True):
        patterns = ", ".join(f"`{pattern}`" for pattern in manifest.get("input", {}).get("patterns", []))
        examples = sum(s["examples"] for s in manifest.get("shards", []) if s["name"].startswith("pretrain-train."))
        documents = manifest.get("counts", {}).get("documents_read", 0)
        rows.append((f"`{folder}`", weight, examples, documents, patterns or "not known"))
    note = "`README.md` and `dataset.json` in each folder have the counts, filters and checksums."
    return f"{card.table(['shards', 'weight', 'rows', 'documents', 'sources'], rows)}\n\n{note}"


def _manifest(folder: str) -> dict:
    """What is known about the shards: {} where their folder is gone or elsewhere."""
    path = os.path.join(folder, records.MANIFEST)
    return config_io.read_json(path) if os.path.exists(path) else {}


def _scores(scores: Mapping[str, float]) -> str:
    if not scores:
        return "Not evaluated: the run had no validation data."
    rows = [(f"`{name}`", f"{value:.6g}") for name, value in scores.items() if isinstance(value, (int, float))]
    return "On the validation data of the run:\n\n" + card.table(["metric", "value"], rows)
