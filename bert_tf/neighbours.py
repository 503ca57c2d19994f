"""The texts nearest to a text, by a model of sentence embeddings.

python -m bert_tf.neighbours --model runs/sentences/model --input questions.txt --among answers.txt --top 5

One JSON object a line: {"text": ..., "neighbours": [{"text": ..., "number": line, "cosine": ...}, ...]}.
"""

import json

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import InputError


def run(model: str, texts: list[str], among: list[str], *, top: int) -> list[dict]:
    """For each text the `top` nearest of `among` by the cosine of their embeddings, nearest first.

    Raises:
      InputError: not a model directory, or no text.
    """
    import numpy as np
    from sklearn.neighbors import NearestNeighbors

    from bert_tf.predict import answers
    from bert_tf.serving import loading

    for name, part in (("--input", texts), ("--among", among)):
        if not part:
            raise InputError(f"{name}: expected at least one line of text. Received none.")
    loaded = loading.load(model, task="embedding")
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


def main(_) -> None:
    from bert_tf.predict import read_texts

    among = list(read_texts(flags.FLAGS.among, "--among"))
    for answer in run(flags.FLAGS.model, list(read_texts(flags.FLAGS.input)), among, top=flags.FLAGS.top):
        print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Model directory.", required=True)
    flags.DEFINE_string("input", None, "File with one text a line, or - for standard input.", required=True)
    flags.DEFINE_string("among", None, "File with one text a line: where neighbours are looked for.", required=True)
    flags.DEFINE_integer("top", 5, "Neighbours of each text.", lower_bound=1)
    command.run(main)
