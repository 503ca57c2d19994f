"""The texts nearest to a text, by a model of sentence embeddings.

python -m bert_tf.neighbours --model runs/sentences/model --input questions.txt --among answers.txt --top 5

One JSON object a line: {"text": ..., "neighbours": [{"text": ..., "number": line, "cosine": ...}, ...]}.
"""

import json

from absl import flags

from bert_tf.core import command


def main(_) -> None:
    from bert_tf.runs import nearest
    from bert_tf.runs.prediction import read_texts

    among = list(read_texts(flags.FLAGS.among, "--among"))
    for answer in nearest.run(flags.FLAGS.model, list(read_texts(flags.FLAGS.input)), among, top=flags.FLAGS.top):
        print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Model directory.", required=True)
    flags.DEFINE_string("input", None, "File with one text a line, or - for standard input.", required=True)
    flags.DEFINE_string("among", None, "File with one text a line: where neighbours are looked for.", required=True)
    flags.DEFINE_integer("top", 5, "Neighbours of each text.", lower_bound=1)
    command.run(main)
