"""Prints the speed of a square matrix product in TensorFlow as JSON: python -m benchmarks.peers.matrix float32."""

import json
import sys

from bert_tf.core import command


def main() -> None:
    command.set_environment()
    from bert_tf.training.engines.speed import matrix_speed

    print(json.dumps({"flops": matrix_speed(sys.argv[1], "/CPU:0")}))


if __name__ == "__main__":
    main()
