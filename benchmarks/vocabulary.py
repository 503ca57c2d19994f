"""Learns a vocabulary of the quickstart's corpus twice, and reads held-out text with it.

make quickstart   (once, for its corpus)
python -m benchmarks.vocabulary --vocab_size 8000
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

from absl import app, flags

_CORPUS = flags.DEFINE_string("corpus", "runs/quickstart/corpus", "Folder written by python -m quickstart.corpus.")
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 8000, "Tokens.")


def main(_) -> None:
    from bert_tf.tokenizer import Tokenizer
    from bert_tf.vocabulary import UNK, Vocabulary

    with open(os.path.join(_CORPUS.value, "labels-validation.jsonl"), encoding="utf-8") as file:
        held_out = [json.loads(line)["text"] for line in file]
    failed = False
    for lower_case in (True, False):
        with tempfile.TemporaryDirectory() as folder:
            hashes = []
            for name in ("first.txt", "second.txt"):
                path = os.path.join(folder, name)
                begun = time.perf_counter()
                subprocess.run(
                    [sys.executable, "-m", "pipelines.build_vocab", f"--vocab_size={_VOCAB_SIZE.value}"]
                    + ["--input", os.path.join(_CORPUS.value, "corpus-*.jsonl"), "--output", path]
                    + [f"--lower_case={lower_case}"],
                    check=True,
                    capture_output=True,
                )
                seconds = time.perf_counter() - begun
                with open(path, "rb") as file:
                    hashes.append(hashlib.sha256(file.read()).hexdigest())
            vocabulary = Vocabulary.load(path)
        ids = Tokenizer(vocabulary, lower_case=lower_case).tokenize(held_out).values.numpy()
        unknown = (ids == vocabulary[UNK]).sum()
        failed |= hashes[0] != hashes[1] or unknown >= 0.001 * len(ids)
        print(
            f"{'uncased' if lower_case else 'cased'}: {len(vocabulary)} tokens in {seconds:.0f} s, "
            f"{'the same bytes twice' if hashes[0] == hashes[1] else f'DIFFERENT bytes: {hashes}'} "
            f"(sha256 {hashes[0][:16]}); held-out: {len(held_out)} texts, {len(ids)} tokens, "
            f"{unknown} [UNK], {unknown / len(ids):.4%}"
        )
    sys.exit("expected the same bytes twice and less than 0.1% [UNK]" if failed else 0)


if __name__ == "__main__":
    app.run(main)
