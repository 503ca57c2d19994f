"""The speed of a square matrix product in TensorFlow, one line of JSON."""

import argparse
import json

from bert_tf.core import command


def main() -> None:
    command.set_environment()
    from bert_tf.training.throughput import matrix_speed

    parser = argparse.ArgumentParser()
    parser.add_argument("--precision", required=True)
    precision = parser.parse_args().precision
    print(json.dumps({"flops": matrix_speed(precision, "/CPU:0")}))


if __name__ == "__main__":
    main()
