"""The summary that a job prints at its end, from dataset.json."""

from pipelines.reading.accounts import lines_of
from pipelines.writing import quality

# Counter -> its label in the summary, which omits counters that are 0.
DROPPED_BY_FILTER = "dropped_filter_"  # and the number of a --filter, from 1
_DROPPED = {
    "bad_records": "unreadable records",
    "dropped_empty": "documents without text",
    "dropped_short": "too short documents",
    "dropped_duplicates": "duplicates",
    "dropped_near_duplicates": "near duplicates",
    "dropped_contaminated": "with an n-gram of --exclude",
    "dropped_lorem_ipsum": 'with "lorem ipsum"',
    "dropped_braces": "with braces",
    "dropped_few_sentences": "of few sentences",
    "documents_without_token": "without a token",
    "documents_without_instance": "too short for a pair",
    "lines_of_other_documents": "lines of other documents",
    "lines_repeated": "lines repeated in a document",
    "lines_without_end_punctuation": "lines without punctuation",
    "lines_of_few_words": "lines of few words",
    "lines_with_javascript": "lines with JavaScript",
    "lines_with_policy": "lines with a policy",
}
_LABEL_1 = {"next_sentence": "random next sentence", "sentence_order": "swapped"}


def dropped_labels(manifest: dict) -> dict[str, str]:
    """{counter: what it counts} of all that may have been dropped."""
    filters = manifest.get("filtering", {}).get("filters", [])
    return _DROPPED | {
        f"{DROPPED_BY_FILTER}{number}": f"by --filter {one['text']}" for number, one in enumerate(filters, start=1)
    }


def summary(manifest: dict) -> str:
    """A table of the input, the drops and the output, and the quality report."""
    counts, ratios, labels = manifest["counts"], manifest["shares"], dropped_labels(manifest)
    megabytes, seconds = manifest["input"]["bytes"] / 1e6, manifest["seconds"]
    rows = [
        ("input", f"{megabytes:,.1f} MB in {manifest['input']['files']:,} files"),
        *lines_of(manifest["reading"]),
        ("documents", f"{counts['documents_read']:,}"),
        *((f"  dropped: {reason}", f"{counts[name]:,}") for name, reason in labels.items() if counts.get(name)),
        ("documents, all passes", f"{counts['passes_over_documents']:,}"),
        ("sentences", f"{counts['sentences']:,}"),
        ("tokens", f"{counts['tokens']:,}"),
        ("instances", f"{counts['instances']:,}"),
    ]
    if "label_1" in ratios:
        rows.append((f"  {_LABEL_1[manifest['parameters']['instances']['pairs']]}", f"{ratios['label_1']:.1%}"))
    if "masked" in ratios:
        rows += [
            ("  masked positions", f"{ratios['predictions_an_instance']:.1f} an instance"),
            ("  [MASK], random, kept", f"{ratios['masked']:.1%}, {ratios['random']:.1%}, {ratios['kept']:.1%}"),
        ]
    padding = f"{ratios['padding']:.1%} of positions"
    if "instances_a_row" in ratios:
        rows.append(("rows", f"{counts['rows']:,}, {ratios['instances_a_row']:.2f} instances each"))
        padding += f" ({ratios['padding_without_packing']:.1%} without packing)"
    rows += [
        ("  padding", padding),
        ("shards", f"{len(manifest['shards'])}"),
        ("seconds", f"{seconds:.1f}, {megabytes / max(seconds, 0.1):.1f} MB/s with start-up"),
    ]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join([*(f"{name:<{width}}{value}" for name, value in rows), quality.report(manifest)])
