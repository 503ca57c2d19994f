import bz2
import gzip
import hashlib
import itertools
import json
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from bert_tf.core import provenance, record_files, records
from bert_tf.core.provenance import Origin
from bert_tf.text.vocabulary import Vocabulary
from bert_tf.text.wordpiece import Tokenizer
from pipelines.instances.packing import Packing
from pipelines.instances.pool import InstanceConfig
from pipelines.instances.row_documents import rows_by_document
from pipelines.instances.sentence_pairs import Pairs
from pipelines.jobs.job import JobConfig
from pipelines.jobs.pretraining_data import create_pretraining_data
from pipelines.reading.inputs import Part
from pipelines.reading.readers import Format, read_part
from pipelines.writing.exchange import ToBlocks, origin_order, read_blocks
from tests.support.data.row_texts import block_at, document_text, segments

TEXTS = ["Größe.\nZwei.", "second", "third — one"]
PLAIN = "\n\n" + "\n\n\n".join(TEXTS) + "\n"
LINES = "".join(json.dumps({"text": text, "url": f"u{i}", "terms": None}) + "\n" for i, text in enumerate(TEXTS))
WIKI = "".join(f'<doc id="{i}" title="t">\nt\n{text}\n</doc>\n\n' for i, text in enumerate(TEXTS))


def documents_of(path, *cuts, **settings):
    starts = [0, *cuts]
    parts = [Part(str(path), start, end) for start, end in zip(starts, [*cuts, None], strict=True)]
    found = itertools.chain(*(read_part(part, Format(**settings)) for part in parts))
    return [document for batch in found if isinstance(batch, list) for document in batch]


@pytest.mark.parametrize("tail", ["", "\r\n\r\nand a line of another kind\r\n"], ids=["at once", "by line"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress])
def test_offsets_point_at_the_documents_of_plain_text(tmp_path, tail, compress):
    data = (PLAIN + tail).encode()
    path = tmp_path / "a"
    path.write_bytes(compress(data))
    found = documents_of(path)
    assert [document.text for document in found][:3] == TEXTS
    for document in found:
        assert data[document.offset :].startswith(document.text.encode()) and document.file == str(path)
        assert document.unit == "byte"


def test_offsets_are_those_of_the_file_in_every_part(tmp_path):
    data = PLAIN.encode() * 30
    (tmp_path / "a.txt").write_bytes(data)
    whole = documents_of(tmp_path / "a.txt")
    assert [(one.part, one.number) for one in whole] == [(0, number) for number in range(90)]
    for cut in (1, 17, len(data) // 2, len(data) - 3):
        found = documents_of(tmp_path / "a.txt", cut)
        assert [(one.text, one.origin) for one in found] == [(one.text, one.origin) for one in whole]
        first = sum(one.part == 0 for one in found)
        assert [(one.part, one.number) for one in found] == [
            *((0, number) for number in range(first)),
            *((cut, number) for number in range(90 - first)),
        ]
    by_line = documents_of(tmp_path / "a.txt", document_per="line")
    assert all(data[one.offset :].startswith(one.text.encode()) for one in by_line)


def test_offsets_and_labels_of_json(tmp_path):
    (tmp_path / "lines.jsonl").write_text(LINES)
    (tmp_path / "array.json").write_text("[\n " + LINES.replace("\n", ",\n").rstrip(",\n") + "]")
    for path in tmp_path.iterdir():
        data = path.read_bytes()
        found = documents_of(path, source_field="url", licence_field="terms")
        assert [json.JSONDecoder().raw_decode(data[one.offset :].decode())[0]["text"] for one in found] == TEXTS
        assert [(one.source, one.licence) for one in found] == [("u0", None), ("u1", None), ("u2", None)]
        assert {one.source for one in documents_of(path)} == {None}


def test_offsets_of_wikiextractor_and_parquet(tmp_path):
    (tmp_path / "wiki").write_text(WIKI)
    for number, one in enumerate(documents_of(tmp_path / "wiki")):
        assert WIKI.encode()[one.offset :].startswith(f'<doc id="{number}"'.encode())
    table = pyarrow.table({"text": TEXTS, "terms": ["CC0", None, "MIT"], "site": [1, 2, 3]})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    found = documents_of(tmp_path / "a.parquet", licence_field="terms", source_field="site")
    assert [one[1:5] for one in found] == [(0, "row", "1", "CC0"), (1, "row", "2", None), (2, "row", "3", "MIT")]
    assert {one.licence for one in documents_of(tmp_path / "a.parquet", licence_field="gone")} == {None}


def test_the_first_origin_of_a_repeated_document_counts(tmp_path):
    step = ToBlocks(lambda text: [("pool", text.encode().ljust(16))], None)
    blocks = []
    for name, texts in (("b", ["x", "y"]), ("a", ["z", "x"])):
        (tmp_path / name).write_text("\n\n".join(texts))
        step.start_bundle()
        list(step.process(documents_of(tmp_path / name)))
        blocks += [element.value[1] for element in step.finish_bundle()]
    for order in (blocks, blocks[::-1]):
        found = read_blocks(order, copies=False)
        first = {key.strip().decode(): origins for key, origins in found.origins.items()}
        assert first["x"] == [Origin(str(tmp_path / "a"), "byte", 3)]
        assert first["y"] == [Origin(str(tmp_path / "b"), "byte", 3)]
        every = sorted(read_blocks(order).origins[b"x".ljust(16)], key=origin_order)
        assert every == [Origin(str(tmp_path / "a"), "byte", 3), Origin(str(tmp_path / "b"), "byte", 0)]


def test_rows_of_documents_by_hand():
    # Documents begin at 0, 10 and 20. Instance 0: document 0 twice; 1: documents 1 and 0; 2: from document 1 into 2.
    pairs = Pairs(*np.array([[0, 3, 3, 8, 0, 0], [12, 15, 2, 4, 1, 1], [18, 24, 0, 0, 0, 1]]).T)
    packing = Packing(np.array([2, 0, 1]), np.array([0, 2, 3]))  # row 0: instances 2 and 0; row 1: instance 1
    rows, starts = rows_by_document(pairs, packing, np.array([0, 10, 20]))
    assert [rows[a:b].tolist() for a, b in itertools.pairwise(starts)] == [[0, 1], [0, 1], [0]]


@pytest.mark.parametrize(
    "settings",
    [{}, {"packing": True, "pairs": "sentence_order"}, {"pairs": "none"}],
    ids=lambda settings: "-".join(map(str, settings.values())) or "next_sentence",
)
def test_every_row_is_made_of_the_documents_that_are_named(corpus, corpus_vocab, tmp_path, settings):
    config = InstanceConfig(max_seq_length=64, max_predictions_per_seq=10, **settings)
    manifest = create_pretraining_data(
        input_patterns=[str(corpus / "2.txt")],
        vocab=str(corpus_vocab),
        output_dir=str(tmp_path / "out"),
        config=JobConfig(instances=config, num_shards=2, validation_fraction=0.1),
    )
    vocabulary = Vocabulary.load(str(corpus_vocab))
    tokenizer = Tokenizer(vocab=vocabulary.tokens, lower_case=True)
    shards = manifest["shards"]
    # Each file has a kilobyte besides its documents, so small files are added up.
    assert sum(shard["provenance"]["bytes"] for shard in shards) < 0.03 * sum(shard["bytes"] for shard in shards)
    texts: dict[Origin, str] = {}
    for shard in shards:
        entry = shard["provenance"]
        data = (tmp_path / "out" / entry["name"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        with open(tmp_path / "out" / shard["name"], "rb") as file:
            serialized = list(record_files.read_records(file))
        batch = {name: values.numpy() for name, values in records.parse(serialized, config.layout).items()}
        found = provenance.read(str(tmp_path / "out" / entry["name"]), range(len(serialized)))
        assert sorted(found) == list(range(len(serialized)))
        for number, documents in found.items():
            for _, origin in documents:
                texts.setdefault(origin, document_text(block_at(origin.file, origin.offset), tokenizer))
            row = segments({name: values[number] for name, values in batch.items()}, vocabulary)
            assert all(any(part in texts[origin] for _, origin in documents) for part in row)
            assert all(any(part in texts[origin] for part in row) for _, origin in documents)


def test_a_damaged_provenance_file_is_made_again(shards, corpus, corpus_vocab, tmp_path):
    copy = shutil.copytree(shards, tmp_path / "copy")
    path = next(copy.glob("provenance-train-00001*"))
    whole = path.read_bytes()
    path.unlink()
    manifest = json.loads((shards / "dataset.json").read_text())
    parameters = manifest["parameters"]
    create_pretraining_data(
        input_patterns=[str(corpus / "[0-9].txt")],
        vocab=str(corpus_vocab),
        output_dir=str(copy),
        config=JobConfig(
            instances=InstanceConfig(max_seq_length=64, max_predictions_per_seq=10),
            num_shards=parameters["num_shards"],
            validation_fraction=0.05,
        ),
    )
    assert path.read_bytes() == whole
