"""Prints the quality report of a folder of shards, and records: tokens, [original→shown] at masked positions, pairs.

python -m pipelines.inspect_shards runs/shards -n 3
python -m pipelines.inspect_shards runs/shards --split validation --shard 0
"""

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import require
from pipelines.running.quiet import quiet_beam

_NUMBER = flags.DEFINE_integer("number", 3, "How many records to show; 0 prints the report alone.", short_name="n")
_SPLIT = flags.DEFINE_enum("split", "train", ["train", "validation"], "Which shards.")
_SHARD = flags.DEFINE_integer("shard", 0, "Which of them, from 0.")


def main(arguments: list[str]) -> None:
    quiet_beam()
    from pipelines.jobs.inspection import describe

    require(len(arguments) == 1, "Expected one folder of shards and flags", " ".join(arguments) or "no folder")
    require(_NUMBER.value >= 0, "-n must not be negative", _NUMBER.value)
    for text in describe(arguments[0], split=_SPLIT.value, shard=_SHARD.value, number=_NUMBER.value):
        print(text)


if __name__ == "__main__":
    command.run(main, takes_arguments=True)
