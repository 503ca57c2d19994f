"""Times the answers of a text classifier; benchmarks/serving.py starts it.

python -m benchmarks.peers.serving_peer NAME MODEL POINTS.json     NAME: ours, torch or onnx

Reads lines "POINT CALLS" from standard input, and writes the seconds of each of the calls as JSON.
"""

import json
import sys
import time
from collections.abc import Callable


def ours(version: str) -> Callable[[list[str]], list]:
    """The SavedModel's signature, as a server calls it."""
    import os

    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    import tensorflow as tf
    import tensorflow_text  # noqa: F401 - registers the ops of the tokenizer

    serve = tf.saved_model.load(version).signatures["serving_default"]
    return lambda texts: serve(text=tf.constant(texts))["probabilities"].numpy()


def torch(model: str) -> Callable[[list[str]], list]:
    """transformers' pipeline on PyTorch."""
    import transformers

    pipe = transformers.pipeline("text-classification", model=model, tokenizer=model, device="cpu", top_k=None)
    return lambda texts: pipe(texts, batch_size=len(texts), truncation=True)


def onnx(model: str) -> Callable[[list[str]], list]:
    """ONNX Runtime on the same weights, with transformers' fast tokenizer."""
    import os
    import tempfile

    import onnxruntime
    import torch as torch_lib
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    network = transformers.AutoModelForSequenceClassification.from_pretrained(model).eval()
    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = tokenizer(["a text", "another text"], return_tensors="pt", padding=True)
    batch, length = torch_lib.export.Dim("batch"), torch_lib.export.Dim("length", max=512)
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.onnx")
        torch_lib.onnx.export(
            network,
            (),
            path,
            kwargs={name: example[name] for name in names},
            input_names=names,
            output_names=["logits"],
            dynamic_shapes={name: {0: batch, 1: length} for name in names},
            dynamo=True,
        )
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def answer(texts: list[str]):
        rows = tokenizer(texts, return_tensors="np", padding=True, truncation=True, max_length=512)
        return session.run(["logits"], {name: rows[name].astype("int64") for name in names})[0]

    return answer


def main(name: str, model: str, points: str) -> None:
    answer = {"ours": ours, "torch": torch, "onnx": onnx}[name](model)
    with open(points, encoding="utf-8") as file:
        texts = [point["texts"] for point in json.load(file)]
    for line in sys.stdin:
        point, calls = map(int, line.split())
        answer(texts[point][:1])  # untimed: caches are cold after the turns of the others
        seconds = []
        for _ in range(calls):
            begin = time.perf_counter()
            answer(texts[point])
            seconds.append(time.perf_counter() - begin)
        print("seconds", json.dumps(seconds), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
