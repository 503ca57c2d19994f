"""The texts nearest to a text. bert_tf.neighbours is its command."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from bert_tf.core.errors import InputError
from bert_tf.interop import sentence_transformers
from bert_tf.runs.prediction import answers
from bert_tf.serving import loading


def run(model: str, texts: list[str], among: list[str], *, top: int) -> list[dict]:
    """For each text the `top` nearest of `among` by the cosine of their embeddings, nearest first.

    Raises:
      InputError: not a model directory, or no text.
    """
    for name, part in (("--input", texts), ("--among", among)):
        if not part:
            raise InputError(f"{name}: expected at least one line of text. Received none.")
    loaded = loading.load(model, task="embedding")
    theirs = sentence_transformers.read(model)
    if theirs is not None and theirs[0].similarity not in (None, "cosine", *(("dot",) * theirs[0].normalize)):
        raise InputError(
            f"--model {model}: {sentence_transformers.PROMPTS}: similarity_fn_name: expected cosine. "
            f"Received: {theirs[0].similarity!r}."
        )
    vectors = [np.array([a["embedding"] for a in answers(loaded, part)], np.float32) for part in (among, texts)]
    index = NearestNeighbors(n_neighbors=min(top, len(among)), metric="cosine", algorithm="brute").fit(vectors[0])
    distances, numbers = index.kneighbors(vectors[1])
    return [
        {
            "text": text,
            "neighbours": [
                {"text": among[number], "number": int(number) + 1, "cosine": round(1.0 - float(distance), 6)}
                for distance, number in zip(*row, strict=True)
            ],
        }
        for text, row in zip(texts, zip(distances, numbers, strict=True), strict=True)
    ]
