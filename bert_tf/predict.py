"""Answers of a model for texts.

python -m bert_tf.predict --model runs/labels/model --input texts.txt
echo "Compute the softmax of a tensor." | python -m bert_tf.predict --model runs/labels/model --input -
echo "Compute the [MASK] of a tensor." | python -m bert_tf.predict --model runs/tiny/model --input -

The input holds one text a line, or is a .jsonl, .csv or .tsv file with the columns of the model's fine-tuning, .json as
SQuAD has it, or .conll. One JSON object a line comes out, such as {"text": ..., "label": ..., "probabilities": {label:
probability}}. A model that is only pretrained fills [MASK]; --task=next_sentence asks it for pairs.
"""

import json

from absl import flags

from bert_tf.core import command


def main(_) -> None:
    from bert_tf.runs.prediction import answers_of_file

    values = flags.FLAGS
    columns = {name: getattr(values, name) for name in ("text_field", "second_text_field")}
    for answer in answers_of_file(values.model, values.input, task=values.task, **columns):
        print(json.dumps(answer, ensure_ascii=False))


if __name__ == "__main__":
    flags.DEFINE_string("model", None, "Model directory.", required=True)
    flags.DEFINE_string("input", None, "File of texts or examples, or - for texts on standard input.", required=True)
    flags.DEFINE_string("task", None, "Task to run; by default the one that the model was fine-tuned for.")
    flags.DEFINE_string("text_field", None, "Column of the text; by default that of the fine-tuning.")
    flags.DEFINE_string("second_text_field", None, "Column of the second text; by default that of the fine-tuning.")
    command.run(main)
