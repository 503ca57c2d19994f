"""Compares the speed of this project's tokenizer with those of TF Text and Hugging Face: text to flat ids on one core.

python -m benchmarks.tokenizer [--rounds 5]             some 5 minutes

All take turns on the same texts in one process, pinned to one core; the result of each is its best round. The time of
Hugging Face's includes concatenating its lists, some 5%. Absolute rates drift with the machine, ratios hardly.
"""

import collections
import importlib.metadata
import os
import re
import sys
import time
import unicodedata
from collections.abc import Callable, Sequence

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags  # noqa: E402 - the environment goes first

from benchmarks import real_text, results_file  # noqa: E402

_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that every tokenizer reads every text.")
_MEGABYTES = flags.DEFINE_float("megabytes", 8.0, "Largest size of each text.")
_BATCH = 2048
_OURS, _FAST = "this tokenizer", "TF Text's FastBertTokenizer, which is not BERT's off ASCII"


def texts(megabytes: float) -> dict[str, list[str]]:
    """{name: lines}: docstrings, the same with typographic signs in every line, and translations that are not ASCII."""
    english = list(real_text.head(real_text.english_paragraphs(), megabytes))
    # As word processors write it: curly quotes, dashes and ellipses, at least one in every line.
    typographic = [re.sub(r"(?<=\w)'(?=\w)", "’", line).replace(" - ", " – ").replace("...", "…") for line in english]
    typographic = [line if not line.isascii() else f"“{line}”" for line in typographic]
    foreign = [line for line in real_text.translations() if not line.isascii()]
    return {
        "docstrings": english,
        "with “typographic” signs in every line": typographic,
        "a hundred languages": list(real_text.head(foreign, megabytes)),
    }


def vocabulary_of(lines: Sequence[str], size: int = 30_000):
    """A vocabulary of the text's characters and most frequent words."""
    from bert_tf.text.vocabulary import SPECIAL_TOKENS, Vocabulary

    words = collections.Counter(word for line in lines for word in re.findall(r"[^\W_]+|[^\w\s]", line.lower()))
    # Single accents and control characters normalize to nothing, and FastBertTokenizer rejects an empty token.
    words = collections.Counter({w: n for w, n in words.items() if unicodedata.category(w[0])[0] not in "MC"})
    characters = collections.Counter(c for word, count in words.items() for c in word * min(count, 3))
    frequent = [c for c, _ in characters.most_common(4000)]
    pieces = [*SPECIAL_TOKENS, *frequent, *(f"##{c}" for c in frequent), *(word for word, _ in words.most_common(size))]
    return Vocabulary(tuple(dict.fromkeys(pieces))[:size])


def contestants(vocabulary) -> dict[str, Callable]:
    """Name -> function from a batch, as (list of str, string tensor), to flat ids."""
    import numpy as np
    import tensorflow as tf
    import tensorflow_text as tf_text
    import tokenizers

    from bert_tf.text.wordpiece import Tokenizer

    tokens = list(vocabulary.tokens)
    ours = Tokenizer(vocabulary)
    fast = tf_text.FastBertTokenizer(tokens, token_out_type=tf.int32, lower_case_nfd_strip_accents=True)
    table = tf.lookup.StaticVocabularyTable(
        tf.lookup.KeyValueTensorInitializer(tokens, tf.range(len(tokens), dtype=tf.int64)), 1
    )
    slow = tf_text.BertTokenizer(table, lower_case=True, token_out_type=tf.int32)
    rust = tokenizers.Tokenizer(tokenizers.models.WordPiece(vocabulary.ids, unk_token="[UNK]"))
    rust.normalizer = tokenizers.normalizers.BertNormalizer()
    rust.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()

    def graph(function):
        traced = tf.function(function, input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
        return lambda batch, tensor: traced(tensor)

    return {
        _FAST: graph(lambda texts: fast.tokenize(texts).flat_values),
        _OURS: graph(lambda texts: ours.tokenize(texts).flat_values),
        f"{_OURS} with offsets": graph(lambda texts: [part.flat_values for part in ours.tokenize_with_offsets(texts)]),
        f"{_FAST}, with offsets": graph(lambda texts: [part.flat_values for part in fast.tokenize_with_offsets(texts)]),
        "TF Text's BertTokenizer": graph(lambda texts: slow.tokenize(texts).flat_values),
        "Hugging Face tokenizers": lambda batch, tensor: np.concatenate(
            [np.array(row.ids, np.int32) for row in rust.encode_batch_fast(batch, add_special_tokens=False)]
        ),
    }


def measure(name: str, lines: list[str], rounds: int) -> dict[str, float]:
    """{tokenizer: MB/s}, best of the rounds."""
    import tensorflow as tf

    megabytes = sum(len(line.encode()) for line in lines) / 1e6
    print(f"{name}: {len(lines):,} lines, {megabytes:.1f} MB", flush=True)
    batches = [lines[i : i + _BATCH] for i in range(0, len(lines), _BATCH)]
    pairs = [(batch, tf.constant([line.encode() for line in batch])) for batch in batches]
    runners = contestants(vocabulary_of(lines))
    best: dict[str, float] = {}
    for run in runners.values():
        run(*pairs[0])  # traces
    for round_number in range(rounds):
        for tokenizer, run in runners.items():
            begun = time.perf_counter()
            for pair in pairs:
                run(*pair)
            best[tokenizer] = max(best.get(tokenizer, 0.0), megabytes / (time.perf_counter() - begun))
            print(f"\r{name}: round {round_number + 1} of {rounds}, {tokenizer:30}", end="", file=sys.stderr)
    print(file=sys.stderr)
    return best


def main(_) -> None:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[0]})
    rates = {name: measure(name, lines, _ROUNDS.value) for name, lines in texts(_MEGABYTES.value).items()}
    names = sorted(rates["docstrings"], key=lambda name: -rates["docstrings"][name])
    columns = {"flat ids, MB/s": "{tokenizer}"}
    columns |= {text: f"{{{text}:.1f}} ({{{text} / FastBertTokenizer:.2f}})" for text in rates}
    rows = [row(name, rates) for name in names]
    versions = {"tokenizers": importlib.metadata.version("tokenizers")}
    bars = "MB of text a second, one core", rates
    results_file.save("tokenizer", columns, rows, versions=versions, bars=bars)


def row(name: str, rates: dict[str, dict[str, float]]) -> results_file.Row:
    """MB/s of one tokenizer by text; rates: {text: {tokenizer: MB/s}}."""
    ratios = {f"{text} / FastBertTokenizer": found[name] / found[_FAST] for text, found in rates.items()}
    return results_file.row({"tokenizer": name}, ratios=ratios, **{text: found[name] for text, found in rates.items()})


if __name__ == "__main__":
    app.run(main)
