"""Serves exported models on this machine, for development, with TF Serving's gRPC and REST APIs.

python -m bert_tf.serve --model_name labels --model_base_path models/labels --port 8500 --rest_api_port 8501
curl localhost:8501/v1/models/labels:predict -d '{"instances": ["Compute the softmax of a tensor."]}'

Repeat --model_name and --model_base_path to serve several models. http://localhost:8501/ is a page to try them in a
browser. New versions are loaded while it runs. For production run tensorflow_model_server; see docs/serving.md.
"""

import signal
import time

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import InputError


def main(_) -> None:
    names, paths = flags.FLAGS.model_name, flags.FLAGS.model_base_path
    if not names or len(names) != len(paths) or len(set(names)) < len(names) or not all([*names, *paths]):
        raise InputError(
            "Expected --model_name and --model_base_path, a different name and a folder for each model. "
            f"Received: --model_name {names} and --model_base_path {paths}."
        )
    from bert_tf.serving.server.models import Models
    from bert_tf.serving.server.server import Server

    models = Models(dict(zip(names, paths, strict=True)))
    with Server(models, port=flags.FLAGS.port, rest_api_port=flags.FLAGS.rest_api_port) as server:
        # Containers and supervisors stop a server by SIGTERM.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for name in names:
                print(
                    f"{name} version {models.version(name).number}, for development: gRPC on localhost:{server.port}, "
                    f"REST on http://localhost:{server.rest_api_port}/v1/models/{name}:predict",
                    flush=True,
                )
            print(f"to try it in a browser: http://localhost:{server.rest_api_port}/", flush=True)
            while True:
                time.sleep(flags.FLAGS.file_system_poll_wait_seconds)
                models.refresh()
        except KeyboardInterrupt:
            print("stopping", flush=True)


if __name__ == "__main__":
    flags.DEFINE_multi_string("model_name", [], "Name that requests use. May be repeated.")
    flags.DEFINE_multi_string("model_base_path", [], "Folder with versions 1, 2, ... of each name.")
    flags.DEFINE_integer("port", 8500, "gRPC port; 0: any free one.")
    flags.DEFINE_integer("rest_api_port", 8501, "REST port; 0: any free one.")
    flags.DEFINE_float("file_system_poll_wait_seconds", 1, "Time between two looks for new versions.", lower_bound=0.1)
    command.run(main)
