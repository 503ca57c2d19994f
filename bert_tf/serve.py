"""Serves an exported model on this machine, for development, with TF Serving's flags, gRPC and REST APIs.

python -m bert_tf.serve --model_name labels --model_base_path models/labels --port 8500 --rest_api_port 8501
curl localhost:8501/v1/models/labels:predict -d '{"instances": ["Compute the softmax of a tensor."]}'
"""

import signal

from absl import flags

from bert_tf import command


def main(_) -> None:
    from bert_tf.serving.server import ServedModel, Server

    values = flags.FLAGS
    model = ServedModel(values.model_name, values.model_base_path)
    with Server(model, port=values.port, rest_api_port=values.rest_api_port) as server:
        print(
            f"{model.name} version {model.version}, for development: gRPC on localhost:{server.port}, "
            f"REST on http://localhost:{server.rest_api_port}/v1/models/{model.name}:predict",
            flush=True,
        )
        # Containers and supervisors stop a server by SIGTERM; requests in flight are answered first.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            server.wait()
        except KeyboardInterrupt:
            print("stopped", flush=True)


if __name__ == "__main__":
    flags.DEFINE_string("model_name", None, "Name that requests use.", required=True)
    flags.DEFINE_string("model_base_path", None, "Folder with versions 1, 2, ...", required=True)
    flags.DEFINE_integer("port", 8500, "gRPC port.")
    flags.DEFINE_integer("rest_api_port", 8501, "REST port.")
    command.run(main)
