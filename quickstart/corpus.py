"""Gathers the docstrings of the installed packages and the standard library: real English on every machine.

python -m quickstart.corpus --output runs/quickstart/corpus --megabytes 12

Writes pretraining documents (corpus-*.jsonl) and two labelled files for "which package wrote this docstring?"
(labels-train.jsonl, labels-validation.jsonl). Held-out docstrings are in no other file.
"""

import ast
import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import sysconfig
import warnings

from absl import flags

from bert_tf.core import command, whole_file

_MIN_CHARACTERS = 100
_HELD_OUT = 0.06  # of the labelled packages' docstrings
_CLASSES = 8
_TRAIN_PER_CLASS, _VALIDATION_PER_CLASS = 800, 80
_CORPUS_FILES = 8


def docstrings_of(path: str) -> list[str]:
    """All docstrings of a Python file, long ones only; none if it does not parse."""
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return []
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    texts = [ast.get_docstring(node) for node in ast.walk(tree) if isinstance(node, documented)]
    return [text for text in texts if text and len(text) >= _MIN_CHARACTERS]


def prose(docstring: str) -> str:
    """One line a paragraph, without examples of code."""
    paragraphs = [" ".join(paragraph.split()) for paragraph in docstring.split("\n\n")]
    return "\n".join(p for p in paragraphs if p and not p.startswith((">>>", "```", "...")))


def python_files() -> list[tuple[str, str]]:
    """(package, path) of every module of the standard library and of the installed packages, sorted."""
    site, standard = sysconfig.get_paths()["purelib"], sysconfig.get_paths()["stdlib"]
    found = []
    for root in (standard, site):
        for folder, folders, names in os.walk(root):
            folders[:] = sorted(name for name in folders if name not in ("site-packages", "__pycache__", "test"))
            parts = os.path.relpath(folder, root).split(os.sep)
            package = "python" if root == standard else parts[0]
            found += [(package, os.path.join(folder, name)) for name in sorted(names) if name.endswith(".py")]
    return found


def processes() -> concurrent.futures.ProcessPoolExecutor:
    """A process a core. Not by fork, which may stop for ever in a process where TensorFlow's threads run."""
    return concurrent.futures.ProcessPoolExecutor(mp_context=multiprocessing.get_context("forkserver"))


def gather() -> list[tuple[str, str]]:
    """(package, docstring) of all of them, each text once, in the order of a hash of the text."""
    files = python_files()
    unique: dict[str, str] = {}
    with processes() as pool:
        results = pool.map(docstrings_of, [path for _, path in files], chunksize=64)
        for (package, _), texts in zip(files, results, strict=True):
            for text in texts:
                text = prose(text)
                if len(text) >= _MIN_CHARACTERS:
                    unique.setdefault(text, package)
    return sorted(((package, text) for text, package in unique.items()), key=lambda item: fraction(item[1]))


def write_corpus(output: str, megabytes: float) -> dict[str, int]:
    """Writes all files and returns how many documents and characters went where."""
    documents = gather()
    sizes: dict[str, int] = {}
    for package, _ in documents:
        sizes[package] = sizes.get(package, 0) + 1
    classes = sorted(sizes, key=lambda package: (-sizes[package], package))[:_CLASSES]
    labelled: dict[str, list[dict]] = {"train": [], "validation": []}
    counts: dict[tuple[str, str], int] = {}
    corpus: list[str] = []
    characters = 0
    for package, text in documents:
        held_out = fraction("held out/" + text) < _HELD_OUT
        split = "validation" if held_out else "train"
        limit = _VALIDATION_PER_CLASS if held_out else _TRAIN_PER_CLASS
        if package in classes and counts.get((package, split), 0) < limit:
            counts[package, split] = counts.get((package, split), 0) + 1
            labelled[split].append({"text": text.replace("\n", " "), "label": package})
        if not held_out and characters < megabytes * 1e6:
            corpus.append(text)
            characters += len(text)
    os.makedirs(output, exist_ok=True)
    for split, rows in labelled.items():
        write_lines(os.path.join(output, f"labels-{split}.jsonl"), rows)
    for index in range(_CORPUS_FILES):
        rows = [{"text": text} for text in corpus[index::_CORPUS_FILES]]
        write_lines(os.path.join(output, f"corpus-{index}.jsonl"), rows)
    return {
        "docstrings": len(documents),
        "corpus_documents": len(corpus),
        "corpus_characters": characters,
        "labelled_train": len(labelled["train"]),
        "labelled_validation": len(labelled["validation"]),
    }


def fraction(text: str) -> float:
    """A number in [0, 1) that depends on the text alone: the same texts are held out on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).digest()) / 2**48


def write_lines(path: str, rows: list[dict]) -> None:
    """Writes a JSON object a line."""
    with whole_file.replacing(path) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def main(_) -> None:
    for name, value in write_corpus(flags.FLAGS.output, flags.FLAGS.megabytes).items():
        print(f"{name:<22}{value:>12,}")


if __name__ == "__main__":
    flags.DEFINE_string("output", None, "Folder for the files.", required=True)
    flags.DEFINE_float("megabytes", 12.0, "Size of the pretraining corpus, at most.")
    command.run(main)
