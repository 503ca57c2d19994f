"""Prints the time of a step of this project by kernel type, from TensorFlow's profiler."""

import collections
import glob
import tempfile

from bert_tf.core import command

_STEPS = 4
_CONTAINERS = {
    "Process",
    "RunWithBorrowedArgs",
    "While",
    "PartitionedCall",
    "StatefulPartitionedCall",
    "_Recv",
    "_Send",
}


def main(path: str, precision: str) -> None:
    command.set_environment()
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    from benchmarks.peers import our_trainer, timing

    with tempfile.TemporaryDirectory() as workdir:
        our_trainer.fit(
            timing.load(path),
            workdir,
            precision=precision,
            steps=4 + _STEPS,
            steps_per_loop=_STEPS,
            log_every=_STEPS,
            profile_steps=(5, 4 + _STEPS),
        )
        space = xplane_pb2.XSpace()
        with open(glob.glob(f"{workdir}/events/plugins/profile/*/*.xplane.pb")[0], "rb") as file:
            space.ParseFromString(file.read())
    seconds, count = collections.Counter(), collections.Counter()
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                name = plane.event_metadata[event.metadata_id].name
                # Kernels are named "node:Type"; the others are calls that contain them.
                if "CPU" in plane.name and ":" in name and not name.startswith(("tf", "Ker")):
                    kind = name.rpartition(":")[2]
                    seconds[kind] += event.duration_ps / 1e12
                    count[kind] += 1
    total = sum(value for kind, value in seconds.items() if kind not in _CONTAINERS and not kind.startswith("__"))
    print(f"kernels of a step, both cores together: {total / _STEPS * 1e3:.0f} ms")
    for kind, value in seconds.most_common(24):
        if kind not in _CONTAINERS and not kind.startswith("__inference"):
            print(f"  {kind:<40}{value / _STEPS * 1e3:>8.1f} ms{value / total:>7.1%}{count[kind] // _STEPS:>6} calls")
