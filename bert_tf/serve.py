"""Serves exported models on this machine, for development, with TF Serving's flags, gRPC and REST APIs.

python -m bert_tf.serve --model_name labels --model_base_path models/labels --port 8500 --rest_api_port 8501
curl localhost:8501/v1/models/labels:predict -d '{"instances": ["Compute the softmax of a tensor."]}'

http://localhost:8501/ is a page to try the models in a browser. New versions are taken up while it runs. In production
tensorflow_model_server takes the same flags; see docs/serving.md.
"""

import signal

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import InputError


def main(_) -> None:
    from bert_tf.serving.server import batching, models
    from bert_tf.serving.server.server import Server

    values = flags.FLAGS
    if values.model_config_file:
        configs = models.read_config(values.model_config_file)
    elif values.model_name and values.model_base_path:
        configs = [models.ModelConfig(values.model_name, values.model_base_path)]
    else:
        received = f"--model_name {values.model_name!r} and --model_base_path {values.model_base_path!r}"
        raise InputError(f"Expected --model_name and --model_base_path, or --model_config_file. Received: {received}.")
    if values.batching_parameters_file and not values.enable_batching:
        raise InputError(
            f"--batching_parameters_file {values.batching_parameters_file}: expected --enable_batching with it. "
            "Received it alone."
        )
    batching_config = None
    if values.enable_batching:
        path = values.batching_parameters_file
        batching_config = batching.read_config(path) if path else batching.BatchingConfig()
    served = models.Models(configs, values.file_system_poll_wait_seconds)
    server = Server(
        served,
        batching.Runner(batching_config),
        port=values.port,
        rest_api_port=values.rest_api_port,
        max_request_bytes=values.max_request_bytes,
        timeout=values.rest_api_timeout_in_ms / 1000,
    )
    with server:
        for name in served.names():
            print(
                f"{name} version {served.model(name).version().number}, for development: gRPC on "
                f"localhost:{server.port}, REST on http://localhost:{server.rest_api_port}/v1/models/{name}:predict",
                flush=True,
            )
        print(f"to try it in a browser: http://localhost:{server.rest_api_port}/", flush=True)
        # Containers and supervisors stop a server by SIGTERM; requests in flight are answered first.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.wait()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("model_name", None, "Name that requests use.")
    flags.DEFINE_string("model_base_path", None, "Folder with versions 1, 2, ...")
    flags.DEFINE_string("model_config_file", None, "Several models, as TF Serving's ModelServerConfig has them.")
    flags.DEFINE_integer("port", 8500, "gRPC port; 0: any free one.")
    flags.DEFINE_integer("rest_api_port", 8501, "REST port; 0: any free one.")
    flags.DEFINE_integer("rest_api_timeout_in_ms", 30_000, "Time that a REST request may take.", lower_bound=1)
    flags.DEFINE_integer("max_request_bytes", 8 * 1024 * 1024, "Size that a request may have.", lower_bound=1)
    flags.DEFINE_float("file_system_poll_wait_seconds", 1, "Between two looks for new versions; 0: none.")
    flags.DEFINE_bool("enable_batching", False, "Let requests that wait together run together.")
    flags.DEFINE_string("batching_parameters_file", None, "How, as TF Serving has it: max_batch_size { value: 32 } ...")
    command.run(main)
