"""Where a step of this project spends its time: kernels by their type, from TensorFlow's own profiler."""

import collections
import glob
import sys
import tempfile

_STEPS = 4


def main(path: str, precision: str = "float32", xla: str = "off") -> None:
    import tensorflow as tf
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    from benchmarks.train_peers import timing
    from bert_tf.config import BertConfig, OptimizerConfig, TrainConfig
    from bert_tf.modeling.pretraining import BertForPreTraining
    from bert_tf.training import precision as precisions
    from bert_tf.training import strategy
    from bert_tf.training.trainer import Batches, Trainer

    batch = timing.load(path)
    train = TrainConfig(
        steps=4 + _STEPS,
        global_batch_size=len(batch["input_word_ids"]),
        precision="float32" if precision == "float32" else "mixed_bfloat16",
        xla=xla,
        steps_per_loop=_STEPS,
        log_every=_STEPS,
        checkpoint_every=1000,
        evaluate_every=1000,
        profile_steps=(5, 4 + _STEPS),
    )

    def model_fn():
        model = BertForPreTraining(BertConfig(**timing.SIZES), dtype=precisions.policy(train.precision))
        model.build()
        return model

    with tempfile.TemporaryDirectory() as workdir:
        trainer = Trainer(
            model_fn,
            train=train,
            optimizer_config=OptimizerConfig(warmup_steps=0),
            strategy=strategy.create("single"),
            workdir=workdir,
        )
        dataset = tf.data.Dataset.from_tensors(batch).repeat()
        trainer.fit(
            Batches(training=lambda first, worker: dataset, validation=None, sources=lambda first, count: "the batch")
        )
        space = xplane_pb2.XSpace()
        with open(glob.glob(f"{workdir}/events/plugins/profile/*/*.xplane.pb")[0], "rb") as file:
            space.ParseFromString(file.read())
    seconds, count = collections.Counter(), collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                metadata = plane.event_metadata[event.metadata_id]
                name = metadata.name
                # Kernels are named "node:Type"; others are calls that hold them.
                if "CPU" in plane.name and ":" in name and not name.startswith(("tf", "Ker")):
                    kind = name.rpartition(":")[2]
                    seconds[kind] += event.duration_ps / 1e12
                    count[kind] += 1
    containers = {
        "Process",
        "RunWithBorrowedArgs",
        "While",
        "PartitionedCall",
        "StatefulPartitionedCall",
        "_Recv",
        "_Send",
    }
    total = sum(value for kind, value in seconds.items() if kind not in containers and not kind.startswith("__"))
    print(f"kernels of a step, both cores together: {total / _STEPS * 1e3:.0f} ms")
    for kind, value in seconds.most_common(24):
        if kind not in containers and not kind.startswith("__inference"):
            print(f"  {kind:<40}{value / _STEPS * 1e3:>8.1f} ms{value / total:>7.1%}{count[kind] // _STEPS:>6} calls")


if __name__ == "__main__":
    main(*sys.argv[1:])
