"""Examples for every kind of task from the docstrings on this machine: real text, with answers its authors gave.

python -m quickstart.tasks --output runs/tasks

Writes KIND-train and KIND-validation for each kind; configs/offline_KIND.py trains on them, but for
fill_mask, which bert_tf.predict answers with a pretrained model.
"""

import os
import random
import re
from collections.abc import Callable, Sequence

from absl import flags

from bert_tf.core import command
from bert_tf.core.errors import require
from quickstart import corpus

PACKAGES = ("apache_beam", "django", "jax", "keras", "matplotlib", "numpy", "python", "scipy", "sklearn", "tensorflow")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")
_CODE = re.compile(r"``([^`\n]{1,40})``|`([^`\n]{1,40})`")
_SECTION = re.compile(r"^\s*(Args|Arguments|Returns|Raises|Yields|Examples?|Notes?|Parameters|References)\s*:?\s*$")
_ARGUMENT = re.compile(r"^ {2,6}`?\*{0,2}([A-Za-z_]\w*)`?(?: \([^)]*\))?: (\S.*)$")
_SECTIONS = {"Args": "arguments", "Arguments": "arguments", "Parameters": "arguments", "Returns": "returns"} | {
    "Raises": "raises",
    "Example": "examples",
    "Examples": "examples",
    "References": "references",
}


def documents(packages: Sequence[str] = PACKAGES) -> list[tuple[str, str]]:
    """(package, docstring as it stands) of some packages, each text once, in the order of a hash of the text."""
    files = [(package, path) for package, path in corpus.python_files() if package in packages]
    with corpus.processes() as pool:
        results = pool.map(corpus.docstrings_of, [path for _, path in files], chunksize=64)
        unique: dict[str, str] = {}
        for (package, _), texts in zip(files, results, strict=True):
            for text in texts:
                unique.setdefault(text, package)
    return sorted(((package, text) for text, package in unique.items()), key=lambda item: corpus.fraction(item[1]))


def classification(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """Which package wrote the docstring, as many of each."""
    counts: dict[str, int] = {}
    examples = []
    share = limit // len({package for package, _ in found})
    for package, text in found:
        if counts.get(package, 0) < share:
            counts[package] = counts.get(package, 0) + 1
            examples.append({"text": _line(text), "label": package})
    return examples


def multi_label(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """Which sections it has, from its text without their headings."""
    examples = []
    for _, text in found[: 2 * limit]:
        lines = text.split("\n")
        headings = [_SECTION.match(line) for line in lines]
        sections = sorted({_SECTIONS[m.group(1)] for m in headings if m and m.group(1) in _SECTIONS})
        body = " ".join(line.strip() for line, heading in zip(lines, headings, strict=True) if not heading)
        if sections:
            examples.append({"text": " ".join(body.split()), "label": sections})
    return examples[:limit]


def regression(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """How much of a paragraph is code, 0 to 5: the share of words that its authors marked, told without the marks."""
    examples = []
    for example in token_classification(found, 2 * limit):
        words, tags = example["text"], example["label"]
        share = sum(tag != "O" for tag in tags) / len(tags)
        # Every other one of those with little code, or most answers would be alike.
        if share > 0.1 or len(examples) % 2:
            examples.append({"text": " ".join(words), "label": round(5.0 * share, 3)})
    return examples[:limit]


def pair_classification(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """Whether the first two sentences of a docstring stand in the order in which they were written."""
    pairs = [s for _, text in found if len(s := _SENTENCE_END.split(_line(text))) >= 2 and len(s[1].split()) >= 5]
    examples = []
    for number, sentences in enumerate(pairs[:limit]):
        first, second = sentences[:2] if number % 2 == 0 else sentences[1::-1]
        examples.append({"text": first, "second_text": second, "label": "swapped" if number % 2 else "in order"})
    return examples


def fill_mask(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """A docstring's first sentence, or its beginning, without one of its words."""
    examples = []
    for number, (_, text) in enumerate(found):
        words = _SENTENCE_END.split(_line(text))[0].split()[:20]
        places = [place for place, word in enumerate(words) if word.isalpha() and word.islower()]
        # Long names are many tokens, behind which the mask might be cut off.
        if len(places) < 5 or sum(map(len, words)) > 100:
            continue
        place = random.Random(number).choice(places)
        text = " ".join([*words[:place], "[MASK]", *words[place + 1 :]])
        examples.append({"text": text, "label": [words[place]]})
        if len(examples) == limit:
            break
    return examples


def token_classification(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """Which words their authors marked as code, once the marks are gone: B-CODE, I-CODE, O."""
    examples = []
    for _, text in found:
        for paragraph in text.split("\n\n"):
            line = " ".join(paragraph.split())
            if not _CODE.search(line) or ">>>" in line or not 5 <= len(line.split()) <= 60:
                continue
            words, tags, end = [], [], 0
            for match in [*_CODE.finditer(line), None]:
                plain = _pieces(line[end : match.start() if match else None].replace("`", " "))
                words += plain
                tags += ["O"] * len(plain)
                if match:
                    code = _pieces(match.group(1) or match.group(2))
                    words += code
                    tags += ["B-CODE"] * bool(code) + ["I-CODE"] * (len(code) - 1)
                    end = match.end()
            examples.append({"text": words, "label": tags})
            break
        if len(examples) == limit:
            break
    return examples


def question_answering(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """What an argument is, answered by its own line among those of the other arguments."""
    examples = []
    for number, (_, text) in enumerate(found):
        arguments = {m.group(1): m.group(2).strip() for m in map(_ARGUMENT.match, text.split("\n")) if m}
        arguments = {name: words for name, words in arguments.items() if len(words.split()) >= 3}
        if not 2 <= len(arguments) <= 6:
            continue
        context, starts = "", {}
        for name, words in arguments.items():
            starts[name] = len(context) + len(name) + 2
            context += f"{name}: {words} "
        name = sorted(arguments)[number % len(arguments)]
        answers = {"text": [arguments[name]], "answer_start": [starts[name]]}
        question = f"What is {name}?"
        examples.append({"id": str(number), "question": question, "context": context.strip(), "answers": answers})
        if len(examples) == limit:
            break
    return examples


def multiple_choice(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """In which of four orders the words of a docstring's second sentence stand, behind its first one."""
    pairs = [s for _, text in found if len(s := _SENTENCE_END.split(_line(text))) >= 2 and 6 <= len(s[1].split()) <= 20]
    examples = []
    for number, sentences in enumerate(pairs[:limit]):
        rng, label = random.Random(number), number % 4
        words = sentences[1].split()
        choices = [" ".join(rng.sample(words, len(words))) for _ in range(3)]
        choices.insert(label, sentences[1])
        examples.append({"text": sentences[0], "choices": choices, "label": label})
    return examples


def embedding(found: Sequence[tuple[str, str]], limit: int) -> list[dict]:
    """A docstring's first sentence and the rest of it."""
    examples = []
    for _, text in found:
        first, *rest = _SENTENCE_END.split(_line(text))
        if len(first.split()) >= 4 and len(" ".join(rest).split()) >= 8:
            examples.append({"text": first, "second_text": " ".join(rest)})
    return examples[:limit]


KINDS: dict[str, Callable[[Sequence[tuple[str, str]], int], list[dict]]] = {
    "classification": classification,
    "pair_classification": pair_classification,
    "multi_label": multi_label,
    "regression": regression,
    "token_classification": token_classification,
    "question_answering": question_answering,
    "multiple_choice": multiple_choice,
    "embedding": embedding,
    "fill_mask": fill_mask,
}


def write(
    output: str, packages: Sequence[str], train: int, validation: int, kinds: Sequence[str] = ()
) -> dict[str, int]:
    """Writes OUTPUT/KIND-{train,validation}.jsonl and returns how many examples each has. No docstring is in both."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    require(not unknown, f"--kinds must be some of {', '.join(KINDS)}", ", ".join(unknown))
    found = documents(packages)
    require(bool(found), "--packages must name installed packages with docstrings", ", ".join(packages))
    held_out = [item for item in found if corpus.fraction("held out/" + item[1]) < 0.2]
    learned = [item for item in found if corpus.fraction("held out/" + item[1]) >= 0.2]
    os.makedirs(output, exist_ok=True)
    counts = {}
    for kind in kinds or KINDS:
        for split, part, limit in (("train", learned, train), ("validation", held_out, validation)):
            name = f"{kind}-{split}.jsonl"
            examples = KINDS[kind](part, limit)
            corpus.write_lines(os.path.join(output, name), examples)
            counts[name] = len(examples)
    return counts


def _line(text: str) -> str:
    return corpus.prose(text).replace("\n", " ")


def _pieces(text: str) -> list[str]:
    """Words, with the marks behind and around them apart."""
    return re.findall(r"\w[\w.\-/]*\w|\w|[^\w\s]", text)


def main(_) -> None:
    for name, count in write(
        flags.FLAGS.output, flags.FLAGS.packages, flags.FLAGS.train, flags.FLAGS.validation, flags.FLAGS.kinds
    ).items():
        print(f"{name:<40}{count:>8,}")


if __name__ == "__main__":
    flags.DEFINE_string("output", None, "Folder for the files.", required=True)
    flags.DEFINE_integer("train", 4000, "Most training examples of a kind.")
    flags.DEFINE_integer("validation", 500, "Most held-out examples of a kind.")
    flags.DEFINE_list("kinds", list(KINDS), "Kinds to make.")
    flags.DEFINE_list("packages", list(PACKAGES), "Whose docstrings.")
    command.run(main)
