"""The closing summary of a job, from what dataset.json says."""


def summary(manifest: dict, *, seconds: float) -> str:
    """A table of what went in and what came out."""
    counts = manifest["counts"]
    instances = max(1, counts.get("instances", 0))
    positions = instances * manifest["max_seq_length"]
    rows = [
        ("input", f"{manifest['input']['bytes'] / 1e6:.1f} MB"),
        ("documents", f"{counts.get('documents_read', 0):,}"),
        ("  unreadable records", f"{counts.get('bad_records', 0):,}"),
        ("documents, all passes", f"{counts.get('passes_over_documents', 0):,}"),
        ("  dropped as duplicates", f"{counts.get('duplicates', 0):,}"),
        ("  dropped as empty", f"{counts.get('empty_documents', 0):,}"),
        ("  too short for a pair", f"{counts.get('documents_without_pair', 0):,}"),
        ("sentences", f"{counts.get('sentences', 0):,}"),
        ("tokens", f"{counts.get('tokens', 0):,}"),
        ("instances", f"{counts.get('instances', 0):,}"),
        ("  padding", f"{1 - counts.get('instance_tokens', 0) / positions:.1%} of positions"),
        ("  random next sentence", f"{counts.get('random_next', 0) / instances:.1%}"),
        ("  masked predictions", f"{counts.get('predictions', 0) / instances:.1f} an instance"),
        ("shards", f"{len(manifest['shards'])}"),
        ("seconds", f"{seconds:.1f}"),
    ]
    return "\n".join(f"{name:<26}{value}" for name, value in rows)
