import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipelines.reading.whole_file import read

NO_TEXT = 'no JSON object with a string "text"'


def write(path, data):
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


@pytest.mark.parametrize(
    ("data", "position", "reason", "size"),
    [
        (b'{"text": "fine"}\n{"txt": 1}\n', 2, NO_TEXT, 11),
        (b'\n{"text": "fine"}\n[1]\n', 3, NO_TEXT, 4),
        (b'{\n{"text": "fine"}', 1, NO_TEXT, 2),
        (b'{"text": "fine"}\n{"text": "\xff"}', 2, "bytes that are no UTF-8", 13),
        (b'{"text": "fine"}\n{"text": null}', 2, NO_TEXT, 14),
        (b'{"text": "fine"}\n{"text": NaN}', 2, NO_TEXT, 13),
        (b'{"text": "fine"}\n{"text": ["a", 1]}', 2, "a text that is 1", 18),
        (b'{"text": "fine"}\n{"text": "a", "text": "b"}', 2, 'a JSON object with more than one "text"', 26),
        (b'{"text": "fine"}\n{"text": "a", "t\\u0065xt": "b"}', 2, 'a JSON object with more than one "text"', 31),
        (b'{"text": "fine"}\n{"text": "a"}{"text": "b"}', 2, NO_TEXT, 26),
        (b'{"text": "fine"}\n' + b"[" * 100_000, 2, NO_TEXT, 100_000),
    ],
)
def test_bad_lines_are_named_and_the_others_read(tmp_path, data, position, reason, size):
    found = read(write(tmp_path / "a.jsonl", data))
    assert (found.documents, found.losses) == (["fine"], [])
    assert [bad[1:] for bad in found.bad] == [("line", position, reason, size)]


@pytest.mark.parametrize(
    ("record", "text"),
    [
        ('{"text": "one", "score": NaN, "big": 1' + "0" * 5000 + "}", "one"),
        ('{"id": {"text": 1}, "text": "one", "ids": [{"id": 1, "id": 2}], "id": 3}', "one"),
        ('{"text": ["one", "two"]}', "one\ntwo"),
        ('{"text": []}', ""),
        ('{"text": "a\\ud800b"}', "a\ufffdb"),
        ('{"text": "\\ud83d\\ude00"}', "\U0001f600"),
        ('{"text": "one\u2028two\x7f \\u0000"}', "one\u2028two\x7f \0"),
        ('{"t\\u0065xt": "\\"one\\\\"}', '"one\\'),
    ],
)
def test_records_of_any_kind_are_the_same_in_every_layout(tmp_path, record, text):
    for layout in (
        "{0}",
        "{0}\n",
        "\ufeff{0}\r\n",
        "[{0}]",
        "\ufeff[\n{0}\n]\n",
        "{0}\n\n{0}",
        "[{0},{0}]",
        "[{0}]\n[{0}]",
    ):
        found = read(write(tmp_path / "a.json", layout.format(record)))
        assert found == ([text] * layout.count("{0}"), [], []), layout
    pretty = record.replace(", ", ",\n  ").replace("{", "{\n", 1)
    assert read(write(tmp_path / "a.txt", f"{pretty}\n{pretty}\n{record}")) == ([text] * 3, [], [])


def test_a_table_by_columns_is_refused(tmp_path):
    """All of its documents became one."""
    table = {"id": [7, 8], "text": ["one", "two"]}
    for indent in (None, 2):
        found = read(write(tmp_path / "a.json", json.dumps(table, indent=indent)))
        assert found.documents == []
        assert [bad.reason for bad in found.bad] == [
            "a table by columns (id, text) instead of an object for each of its 2 rows"
        ]
    for document in ({"id": 7, "text": ["one", "two"]}, {"tags": ["a"], "text": ["one", "two"]}):
        assert read(write(tmp_path / "a.json", json.dumps(document))).documents == ["one\ntwo"]


def test_an_array_of_thousands_of_objects_on_one_line(tmp_path):
    records = [{"id": n, "text": f'Text {n} with [brackets] and "quotes" {{}}.'} for n in range(3000)]
    path = write(tmp_path / "a.json", json.dumps(records))
    texts = [record["text"] for record in records]
    assert read(path, cuts=[1000, 50_000]) == (texts, [], [])
    for name, indent in (("a.txt", None), ("b.json", 2)):
        assert read(write(tmp_path / name, json.dumps(records, indent=indent))) == (texts, [], [])


def test_an_array_that_breaks_off_is_a_loss(tmp_path):
    path = write(tmp_path / "a.json", '[{"text": "one"}, {"text": "tw')
    found = read(path)
    assert (found.documents, found.bad) == (["one"], [])
    (loss,) = found.losses
    assert loss[1:] == ("record", 2, "JSON that ends within a value", 12, 30)
    (loss,) = read(write(path, '[{"text": "one"},')).losses
    assert loss[1:] == ("record", 1, "a JSON array that is not closed", 0, 17)


def test_other_values_in_arrays_are_bad_records(tmp_path):
    found = read(
        write(tmp_path / "a.json", '[{"text": "one"}, 17, "two", garbage, {"text": 3}, [1], {"text": "six"}] ]')
    )
    assert found.documents == ["one", "six"]
    assert [bad.position for bad in found.bad] == [2, 3, 4, 5, 6, 8]
    found = read(write(tmp_path / "a.json", '{"data": [{"text": "one"}]}'))
    assert [bad.reason for bad in found.bad] == [NO_TEXT]


def test_values_that_are_too_large_are_losses_in_bounded_memory(tmp_path):
    large = '{"text": "' + "x" * 3_000_000 + '\\""}'
    for layout in ('{{"text": "one"}}\n{}\n{{"text": "two"}}', '[{{"text": "one"}},{},{{"text": "two"}}]'):
        found = read(write(tmp_path / "a.json", layout.format(large)), max_document_bytes=1_000_000)
        assert (found.documents, found.bad) == (["one", "two"], [])
        (loss,) = found.losses
        assert loss.reason == "a document of more than 1,000,000 bytes (--max_document_bytes)"
        assert loss.bytes - len(large) in (0, 1)


def test_a_first_line_of_any_length_is_recognized(tmp_path):
    long = json.dumps({"text": "x" * 2_000_000})
    for data in (
        f'{long}\n{{"text": "two"}}\n',
        f'{long[:-1]},\n"id": 1}}\n{{"text": "two"}}\n',
        f'[{long},{{"text": "two"}}]',
    ):
        assert [text[-3:] for text in read(write(tmp_path / "a.txt", data)).documents] == ["xxx", "two"]
    broken = '{"text": "x"\n' + '{"text": "y"}\n' * 100_000
    found = read(write(tmp_path / "a.jsonl", broken))
    assert (len(found.documents), len(found.bad)) == (100_000, 1)


@given(data=st.data())
def test_lines_read_in_parts_give_every_record_once(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("parts") / "a.jsonl"
    lines = [
        '{"text": "one"}',
        "",
        '{"text": "two\\n\\nthree"}',
        '{"no": 1}',
        '{"text": "four"}\r',
        '{"text": "' + "x" * 80,
    ]
    content = "\n".join(data.draw(st.lists(st.sampled_from(lines), max_size=30)))
    write(path, content)
    cuts = data.draw(st.lists(st.integers(1, len(content) + 1), max_size=6))
    whole, parts = (read(path, cut, max_document_bytes=60) for cut in ((), cuts))
    assert parts.documents == whole.documents
    for one, other in zip(parts[1:], whole[1:], strict=True):
        assert [(x.reason, x.bytes) for x in one] == [(x.reason, x.bytes) for x in other]


def test_bad_record_behind_the_first_part_is_named_by_its_byte(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "one"}\n' * 10 + "[]\n")
    assert read(path, cuts=[30]).bad[-1][1:3] == ("byte", 160)
    assert read(path).bad[-1][1:3] == ("line", 11)


def test_the_field_may_have_another_name(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"body": "three"}\n{"text": "four"}\n')
    found = read(path, text_field="body", document_per="file")
    assert found.documents == ["three"]
    assert [bad.reason for bad in found.bad] == ['no JSON object with a string "body"']
    assert read(write(tmp_path / "wiki_01", '{"id": "12", "text": "WikiExtractor --json"}\n')).documents == [
        "WikiExtractor --json"
    ]


@pytest.mark.parametrize("name", ["a.JSON", "a.Jsonl", "part-00000"])
def test_json_is_recognized_by_name_in_any_case_and_by_an_empty_object(tmp_path, name):
    path = tmp_path / name
    path.write_text('{}\n{"text": "one"}\n')
    found = read(path)
    assert (found.documents, len(found.bad)) == (["one"], 1)
