"""Reads the examples of a folder of shards as arrays."""

import json
import os

import numpy as np


def read_rows(folder: str) -> dict[str, np.ndarray]:
    """All rows of a folder, {feature: [rows, ...]}."""
    import tensorflow as tf

    from bert_tf.core import records

    with open(os.path.join(folder, records.MANIFEST), encoding="utf-8") as file:
        manifest = json.load(file)
    paths = [os.path.join(folder, shard["name"]) for shard in manifest["shards"]]
    batch = next(iter(tf.data.TFRecordDataset(paths).batch(10_000_000)))
    return {name: x.numpy() for name, x in records.parse(batch, records.RecordLayout.of(manifest)).items()}
