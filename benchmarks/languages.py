"""Measures what text of many languages loses on its way to shards.

python -m benchmarks.languages                  minutes on 2 cores; apt-get download fetches 40 MB, where that works

The text is Django's interface, ten messages a paragraph, and LibreOffice's help as Debian packages it, at most
--megabytes of a language. All share one cased vocabulary. Shards have 128 tokens a row, with pairs of both kinds and
without.
"""

import collections
import html
import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator

import numpy as np
from absl import app, flags

from benchmarks import real_text, results_file

_MEGABYTES = flags.DEFINE_float("megabytes", 0.5, "Most text of a language.")
_VOCAB_SIZE = flags.DEFINE_integer("vocab_size", 30_000, "Of the vocabulary.")
_HELP = ("dz", "el", "hi", "ja", "km", "ko", "om", "ru", "vi", "zh-cn", "zh-tw")
_DJANGO = """ar az be bg bn ca cs de el es fa fr he hi hu hy id ja ka kk km kn ko lt ml mn mr my ne nl pa pl pt_BR
    ru sr sw ta te tg th tr ug uk ur uz vi zh_Hans zh_Hant""".split()  # noqa: SIM905 - reads like a list
_NAMES = {"dz": "Dzongkha", "om": "Oromo", "zh-cn": "Simplified Chinese", "zh-tw": "Traditional Chinese"}
_PAIRS = ("next_sentence", "sentence_order", "none")
_TRANSLATION = re.compile(r'^msgstr(?:\[\d\])? ((?:".*"\n?)+)', re.MULTILINE)
_STRING = re.compile(r'^"(.*)"$', re.MULTILINE)
_PARAGRAPH = re.compile(r"<p\b[^>]*>(.*?)</p>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
COLUMNS = {
    "language": "{language}",
    "text": "{source}",
    "documents": "{documents:,}",
    "sentences": "{sentences:,}",
    "tokens": "{tokens:,}",
    "[UNK]": "{unknown:.2%}",
    "lost, next_sentence": "{lost_next_sentence:.2%}",
    "lost, sentence_order": "{lost_sentence_order:.2%}",
    "lost, none": "{lost_none:.2%}",
    "label 1": "{label_1:.1%}",
}


def _unescaped(match: re.Match) -> str:
    return {"n": "\n", "t": "\t"}.get(match[1], match[1])


def _django() -> Iterator[tuple[str, list[str]]]:
    """(language, documents): one document for each file of messages."""
    from django.conf.locale import LANG_INFO

    root = pathlib.Path(importlib.util.find_spec("django").origin).parent
    for language in _DJANGO:
        documents = []
        for path in sorted(root.rglob(f"locale/{language}/**/*.po")):
            strings = (_STRING.findall(block) for block in _TRANSLATION.findall(path.read_text(encoding="utf-8")))
            _, *messages = (re.sub(r"\\(.)", _unescaped, "".join(parts)) for parts in strings)  # the first is a header
            messages = [" ".join(message.split()) for message in messages if message]
            paragraphs = [" ".join(messages[start : start + 10]) for start in range(0, len(messages), 10)]
            documents.append("\n".join(paragraphs))
        yield LANG_INFO[language.lower().replace("_", "-")]["name"], documents


def _libreoffice(folder: pathlib.Path) -> Iterator[tuple[str, list[str]]]:
    """(language, documents): one document for each page; nothing without apt-get."""
    from django.conf.locale import LANG_INFO

    for language in _HELP if shutil.which("apt-get") and shutil.which("dpkg-deb") else ():
        package = f"libreoffice-help-{language}"
        fetched = subprocess.run(
            ["apt-get", "download", package], cwd=folder, capture_output=True, text=True, check=False
        )
        if fetched.returncode:
            print(f"{package} is not to be had: {fetched.stderr.strip()}", file=sys.stderr)
            continue
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", archive, folder / package], check=True)
        pages = sorted((folder / package).rglob("text/swriter/**/*.html"))
        texts = (page.read_text(encoding="utf-8") for page in pages)
        documents = [
            "\n".join(html.unescape(_TAG.sub("", part)) for part in _PARAGRAPH.findall(text)) for text in texts
        ]
        yield _NAMES.get(language) or LANG_INFO[language]["name"], documents


def _prepared(documents: list[str]) -> list[str]:
    """Cleaned documents without repeated ones, --megabytes at most."""
    from pipelines.filtering.cleaning import DocumentConfig, prepare

    texts = (prepare(text, DocumentConfig(), collections.Counter()) for text in documents)
    return list(real_text.head(dict.fromkeys(text for text in texts if text), _MEGABYTES.value))


def _row(documents: list[str], tokenizer, labels: dict[str, str]) -> results_file.Row:
    """The documents as one shard of each kind, by the function that makes the shards of a job."""
    from bert_tf.core import records
    from bert_tf.core.provenance import Origin
    from bert_tf.text.vocabulary import UNK
    from pipelines.instances.pool import InstanceConfig, make_records
    from pipelines.reading.documents import document_id

    keyed = [(document_id(text), text, Origin("", "byte", 0)) for text in documents]
    values: dict[str, float] = {"documents": len(documents)}
    for pairs in _PAIRS:
        config, counts = InstanceConfig(pairs=pairs, masking="none", lower_case=False), collections.Counter()
        shard = [record for batch in make_records("shard", keyed, tokenizer, config, counts)[0] for record in batch]
        values[f"lost_{pairs}"] = counts["tokens_unused"] / counts["tokens"]
        if pairs == "none":
            ids = records.parse(shard, config.layout)["input_word_ids"].numpy()
            values |= {"sentences": counts["sentences"], "tokens": counts["tokens"]}
            values["unknown"] = (ids == tokenizer.vocabulary[UNK]).sum() / counts["tokens"]
        if pairs == "next_sentence":
            values["label_1"] = counts["label_1"] / counts["instances"]
    kept = {f"kept, {pairs}": 1 - values[f"lost_{pairs}"] for pairs in _PAIRS}
    return results_file.row(labels, ratios=kept, **values)


def main(_) -> None:
    from bert_tf.text.wordpiece import Tokenizer
    from pipelines.jobs.vocabulary_learning import build_vocab

    with tempfile.TemporaryDirectory() as folder:
        found = [("Django", *each) for each in _django()]
        found += [("LibreOffice", *each) for each in _libreoffice(pathlib.Path(folder))]
        corpora = [(source, language, _prepared(documents)) for source, language, documents in found]
        text = os.path.join(folder, "all.txt")
        every = [document for _, _, documents in corpora for document in documents]
        pathlib.Path(text).write_text("\n\n".join(every), encoding="utf-8")
        vocabulary = build_vocab(
            input_patterns=[text],
            output=os.path.join(folder, "vocab.txt"),
            vocab_size=_VOCAB_SIZE.value,
            lower_case=False,
        )
    tokenizer = Tokenizer(vocabulary, lower_case=False)
    rows = [
        _row(documents, tokenizer, {"language": language, "source": source}) for source, language, documents in corpora
    ]
    rows.sort(key=lambda row: (row["labels"]["language"], row["labels"]["source"]))
    results_file.save("languages", COLUMNS, rows)
    lost = np.array([[row["values"][f"lost_{pairs}"] for pairs in _PAIRS] for row in rows])
    print(f"{len(rows)} corpora, at most {lost.max():.2%} of the tokens lost")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    app.run(main)
