"""Prints the weights of a mixture of shard folders, for data.weights.

python -m bert_tf.mixture --train shards-web --train shards-books --temperature 0.7 --temperature 0.3

A folder of n training examples gets a weight in proportion to n**temperature: 1 = by size, 0 = all alike. mmBERT begins
with 0.7 and ends with 0.3, so that small sources are read more and more.
"""

import os

from absl import flags

from bert_tf.core import command, config_io, records
from bert_tf.core.data_order import source_names, temperature_weights
from bert_tf.core.errors import InputError

_DIGITS = 4


def main(_) -> None:
    folders, temperatures = flags.FLAGS.train, flags.FLAGS.temperature
    sizes = [_examples(folder) for folder in folders]
    weights = [[round(x, _DIGITS) for x in temperature_weights(sizes, temperature)] for temperature in temperatures]
    names = source_names(folders)
    width = max(map(len, names))
    print(f"{'':<{width}}  {'examples':>14}  " + "  ".join(f"{temperature:>6g}" for temperature in temperatures))
    for name, size, row in zip(names, sizes, zip(*weights, strict=True), strict=True):
        print(f"{name:<{width}}  {size:>14,}  " + "  ".join(f"{weight:>6.{_DIGITS}f}" for weight in row))
    for temperature, column in zip(temperatures, weights, strict=True):
        values = ",".join(f"{weight:g}" for weight in column)
        print(f"{temperature:g}: --set data.train={','.join(folders)} --set data.weights={values}")


def _examples(folder: str) -> int:
    path = os.path.join(folder, records.MANIFEST)
    shards = config_io.read_json(path).get("shards", [])
    count = sum(shard["examples"] for shard in shards if shard["name"].startswith("pretrain-train."))
    if not count:
        raise InputError(f"--train {folder}: expected a folder of shards with training examples. Received none.")
    return count


if __name__ == "__main__":
    flags.DEFINE_multi_string("train", None, "Folder of shards. Repeat it for each source.", required=True)
    flags.DEFINE_multi_float("temperature", [0.7, 0.3], "Exponent of the sizes, from 0 to 1. May be repeated.")
    command.run(main)
