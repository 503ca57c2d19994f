"""The closing summary of a job, from what dataset.json says."""

# Counter -> what it tells a reader; those that are 0 are left out.
_DROPPED = {
    "bad_records": "unreadable records",
    "dropped_empty": "documents without text",
    "dropped_short": "too short documents",
    "dropped_duplicates": "duplicates",
    "dropped_near_duplicates": "near duplicates",
    "dropped_lorem_ipsum": 'with "lorem ipsum"',
    "dropped_braces": "with braces",
    "dropped_few_sentences": "of few sentences",
    "documents_without_token": "without a token",
    "documents_without_instance": "too short for a pair",
    "lines_of_other_documents": "lines of other documents",
    "lines_without_end_punctuation": "lines without punctuation",
    "lines_of_few_words": "lines of few words",
    "lines_with_javascript": "lines with JavaScript",
    "lines_with_policy": "lines with a policy",
}
_LABEL_1 = {"next_sentence": "random next sentence", "sentence_order": "swapped"}


def summary(manifest: dict, *, seconds: float) -> str:
    """A table of what went in and what came out."""
    counts, parameters = manifest["counts"], manifest["parameters"]
    instances = max(1, counts["instances"])
    megabytes = manifest["input"]["bytes"] / 1e6
    rows = [
        ("input", f"{megabytes:,.1f} MB in {manifest['input']['files']:,} files"),
        ("documents", f"{counts['documents_read']:,}"),
        *((f"  dropped: {told}", f"{counts[name]:,}") for name, told in _DROPPED.items() if counts.get(name)),
        ("documents, all passes", f"{counts['passes_over_documents']:,}"),
        ("sentences", f"{counts['sentences']:,}"),
        ("tokens", f"{counts['tokens']:,}"),
        ("instances", f"{counts['instances']:,}"),
    ]
    if manifest["layout"]["has_pairs"]:
        rows.append((f"  {_LABEL_1[parameters['instances']['pairs']]}", f"{counts['label_1'] / instances:.1%}"))
    if predictions := counts.get("predictions"):
        masked, kept = counts["predictions_masked"] / predictions, counts["predictions_kept"] / predictions
        rows += [
            ("  masked positions", f"{predictions / instances:.1f} an instance"),
            ("  [MASK], random, kept", f"{masked:.1%}, {1 - masked - kept:.1%}, {kept:.1%}"),
        ]
    length = manifest["layout"]["max_seq_length"]
    padding = 1 - counts["instance_tokens"] / max(1, counts["rows"] * length)
    if manifest["layout"]["max_sequences_per_row"]:
        unpacked = 1 - counts["instance_tokens"] / (instances * length)
        rows.append(("rows", f"{counts['rows']:,}, {counts['instances'] / max(1, counts['rows']):.2f} instances each"))
        rows.append(("  padding", f"{padding:.1%} of positions ({unpacked:.1%} without packing)"))
    else:
        rows.append(("  padding", f"{padding:.1%} of positions"))
    rows += [
        ("shards", f"{len(manifest['shards'])}"),
        ("seconds", f"{seconds:.1f}, {megabytes / max(seconds, 1e-9):.1f} MB/s with start-up"),
    ]
    width = max(len(name) for name, _ in rows) + 2
    return "\n".join(f"{name:<{width}}{value}" for name, value in rows)
