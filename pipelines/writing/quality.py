"""The quality report of a folder of shards, from its dataset.json: what was lost, and what training will suffer from.

Each figure has a threshold. Beyond it a warning says what to do.
"""

import math
from collections.abc import Iterator

from bert_tf.core import records
from bert_tf.core.records import RecordLayout

# Thresholds, as shares.
_MOST_UNKNOWN = 0.01  # of tokens; published vocabularies stay below it on the text that they were made of
_MOST_UNUSED = 0.01  # of tokens
_LEAST_MASKED = 0.8  # of the masks that were asked for
_MOST_PADDING = 0.4  # of positions
_MOST_UNEVEN = 0.15  # how far label 1 may be from one half ...
_DEVIATIONS = 4  # ... unless chance explains it: standard deviations of a fair coin
_MOST_DROPPED = 0.5  # of documents


def shares(counts: dict[str, int], layout: RecordLayout) -> dict[str, float]:
    """Ratios of a job's counts.

    Returns:
      unknown and unused of all tokens; masked_tokens of the tokens of instances; padding of all positions; label_1
      of all labels; masked, kept and random of all predictions.
    """
    length, instances, tokens = layout.max_seq_length, max(1, counts["instances"]), max(1, counts["tokens"])
    found = {
        "unknown": counts["tokens_unknown"] / tokens,
        "unused": counts["tokens_unused"] / tokens,
        "padding": 1 - counts["instance_tokens"] / (max(1, counts["rows"]) * length),
    }
    if layout.max_sequences_per_row:
        found["padding_without_packing"] = 1 - counts["instance_tokens"] / (instances * length)
        found["instances_a_row"] = counts["instances"] / max(1, counts["rows"])
    if layout.has_pairs:
        found["label_1"] = counts["label_1"] / instances
    if layout.max_predictions_per_seq:
        predictions = max(1, counts["predictions"])
        found["masked_tokens"] = counts["predictions"] / max(1, counts["instance_tokens"])
        found["predictions_an_instance"] = counts["predictions"] / instances
        found["masked"] = counts["predictions_masked"] / predictions
        found["kept"] = counts["predictions_kept"] / predictions
        found["random"] = 1 - found["masked"] - found["kept"]
    return {name: round(value, 6) for name, value in found.items()}


def report(manifest: dict) -> str:
    """The report as text, warnings last.

    Args:
      manifest: a dataset.json. Figures that an older version did not count are left out.
    """
    lines = [f"  {name:<24}{value}" for name, value in _figures(manifest)]
    return "\n".join(["quality", *lines, *(f"warning: {text}" for text in warnings(manifest))])


def _figures(manifest: dict) -> Iterator[tuple[str, str]]:
    ratios, counts = manifest["shares"], manifest["counts"]
    if "reading" in manifest:
        lost = _bytes_not_read(manifest)
        yield "not read", f"{lost:,} of {manifest['reading']['bytes']:,} bytes, {counts['bad_records']:,} bad records"
    if "unknown" in ratios:
        yield "[UNK]", f"{ratios['unknown']:.2%} of tokens"
        yield "in no instance", f"{ratios['unused']:.2%} of tokens"
    if "masked_tokens" in ratios:
        wanted = manifest["parameters"]["instances"]["masked_lm_prob"]
        yield "masked", f"{ratios['masked_tokens']:.1%} of tokens, {wanted:.0%} asked for"
    by_shard = [count / total for count, total in _labels(manifest)]
    if by_shard:
        yield "label 1", f"{ratios['label_1']:.1%}, by shard {min(by_shard):.1%} to {max(by_shard):.1%}"
    prefix = records.ROWS_UP_TO
    rows = {int(name.removeprefix(prefix)): count for name, count in counts.items() if name.startswith(prefix)}
    if rows:
        shown = ", ".join(f"{bound}: {rows[bound] / sum(rows.values()):.0%}" for bound in sorted(rows))
        yield "rows by length, up to", shown


def warnings(manifest: dict) -> list[str]:
    """One sentence for each figure beyond its threshold: the figure, what it means, and what to do."""
    return list(_warnings(manifest))


def _warnings(manifest: dict) -> Iterator[str]:
    ratios, counts, parameters = manifest["shares"], manifest["counts"], manifest["parameters"]
    instances = parameters["instances"]
    if lost := _bytes_not_read(manifest):
        yield (
            f"{lost:,} bytes of the input were not read, in {manifest['reading']['lost_files']:,} lost files and "
            f"{counts['bad_records']:,} bad records. dataset.json and dead_letter.jsonl list them."
        )
    if ratios.get("unknown", 0) > _MOST_UNKNOWN:
        yield (
            f"{ratios['unknown']:.1%} of the tokens are [UNK], which the model cannot learn from. Learn the vocabulary "
            "from this text with pipelines.build_vocab (--character_coverage), with the same --lower_case, "
            "--strip_accents, --split_cjk and --max_word_length."
        )
    if ratios.get("unused", 0) > _MOST_UNUSED:
        yield (
            f"{ratios['unused']:.1%} of the tokens are in no instance. A longer --max_seq_length or --pairs=none "
            "keeps more of them."
        )
    wanted = instances["masked_lm_prob"]
    if ratios.get("masked_tokens", wanted) < _LEAST_MASKED * wanted:
        yield (
            f"{ratios['masked_tokens']:.1%} of the tokens are masked where --masked_lm_prob={wanted} asks for "
            f"{wanted:.1%}. Leave --max_predictions_per_seq={instances['max_predictions_per_seq']} out, and it follows "
            "from --max_seq_length."
        )
    yield from _label_warnings(manifest)
    if ratios["padding"] > _MOST_PADDING and not instances["packing"]:
        yield f"{ratios['padding']:.0%} of the positions are padding. --packing puts several instances into a row."
    passes = 1 + (parameters["dupe_factor"] - 1) * (1 - parameters["validation_fraction"])
    dropped = 1 - counts["passes_over_documents"] / max(1.0, counts["documents_read"] * passes)
    if dropped > _MOST_DROPPED:
        yield f"{dropped:.0%} of the documents were dropped; the summary lists the reasons. Check the filters."


def _bytes_not_read(manifest: dict) -> int:
    reading = manifest.get("reading", {})
    return reading.get("bytes_lost", 0) + reading.get("bytes_in_bad_records", 0)


def _label_warnings(manifest: dict) -> Iterator[str]:
    labels = _labels(manifest)
    cause = "A document of one sentence has no next one, a single document has no other: give more and longer ones."
    if _is_uneven(sum(count for count, _ in labels), sum(total for _, total in labels)):
        yield f"{manifest['shares']['label_1']:.1%} of the pairs have label 1, where about half should. {cause}"
        return
    uneven = [labels[index] for index in range(len(labels)) if _is_uneven(*labels[index])]
    if uneven:
        count, total = max(uneven, key=lambda pair: abs(pair[0] / pair[1] - 0.5))
        yield (
            f"{len(uneven)} of {len(labels)} shards have far more or fewer than half of their pairs with label 1, the "
            f"worst {count / total:.1%}. {cause}"
        )


def _is_uneven(count: int, total: int) -> bool:
    return total > 0 and abs(count / total - 0.5) > max(_MOST_UNEVEN, _DEVIATIONS * 0.5 / math.sqrt(total))


def _labels(manifest: dict) -> list[tuple[int, int]]:
    """(pairs with label 1, pairs) of each shard that has pairs."""
    if "label_1" not in manifest["shares"]:
        return []
    counts = [info.get("counts", {}) for info in manifest["shards"]]
    return [(each.get("label_1", 0), each["instances"]) for each in counts if each.get("instances")]
