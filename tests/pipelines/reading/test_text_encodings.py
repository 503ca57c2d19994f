import codecs
import gzip

import pytest

from bert_tf.core.errors import InputError
from pipelines.reading.readers import Format
from tests.pipelines.reading.whole_file import read

TEXT = "Ärger über 中文\nzweite Zeile\n\nдва 😀\n"
DOCUMENTS = ["Ärger über 中文\nzweite Zeile", "два 😀"]
MARKS = {
    "utf-8": codecs.BOM_UTF8,
    "utf-16-le": codecs.BOM_UTF16_LE,
    "utf-16-be": codecs.BOM_UTF16_BE,
    "utf-32-le": codecs.BOM_UTF32_LE,
    "utf-32-be": codecs.BOM_UTF32_BE,
    "gb18030": "\ufeff".encode("gb18030"),
}


def write(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
@pytest.mark.parametrize("encoding", MARKS)
def test_a_byte_order_mark_names_the_encoding(tmp_path, encoding, compress, end):
    data = MARKS[encoding] + TEXT.replace("\n", end).encode(encoding)
    path = write(tmp_path / "a.txt", compress(data))
    assert read(path, cuts=[9]) == (DOCUMENTS, [], [])
    assert read(path, encoding="latin-1") == (DOCUMENTS, [], [])
    json = MARKS[encoding] + '{"text": "Ä中"}\n{"text": "b"}\n'.replace("\n", end).encode(encoding)
    assert read(write(path, json)) == (["Ä中", "b"], [], [])


@pytest.mark.parametrize(
    "encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32", "utf-16", "gb18030", "UTF8", "utf-8-sig"]
)
def test_the_encoding_may_be_given(tmp_path, encoding):
    path = write(tmp_path / "a.txt", TEXT.encode(encoding))
    if encoding in ("utf-16-le", "utf-32-le"):
        assert read(path, encoding=encoding[:6]) == (DOCUMENTS, [], [])
    assert read(path, encoding=encoding) == (DOCUMENTS, [], [])


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("latin-1", "Ärger"), ("koi8-r", "два"), ("shift_jis", "日本語"), ("iso2022_jp", "日本語"), ("big5", "中文")],
)
def test_text_of_older_encodings_is_read_with_its_name_and_bad_without(tmp_path, encoding, text):
    path = write(tmp_path / "a.txt", f"one\n\n{text}\n\ntwo".encode(encoding))
    assert read(path, encoding=encoding) == (["one", text, "two"], [], [])
    found = read(path)
    assert (found.documents, len(found.bad)) == (["one", "two"], 1)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("text", ["Plain English.\n\nTwo.", "中文。\n\n第二"])
def test_utf_16_without_a_mark_is_never_read_as_utf_8(tmp_path, encoding, text):
    found = read(write(tmp_path / "a.txt", text.encode(encoding)))
    assert found.documents == []
    assert found.bad


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-be", "gb18030", "shift_jis", "ascii", "cp1252"])
def test_what_cannot_be_decoded_is_bad_and_the_rest_is_read(tmp_path, encoding):
    broken = {"utf-16-le": b"\x00\xd8a\x00", "utf-32-be": b"\x00\x11\x00\x00", "cp1252": b"\x81"}.get(encoding, b"\xff")
    data = "one\n\nx".encode(encoding) + broken + "y\n\ntwo\n\n".encode(encoding)
    found = read(write(tmp_path / "a.txt", data), encoding=encoding)
    assert (found.documents, found.losses) == (["one", "two"], [])
    (bad,) = found.bad
    assert bad.reason == f"bytes that are no {encoding.upper()}"
    assert bad.bytes > 0
    found = read(write(tmp_path / "a.txt", "one\n\ntwo".encode("utf-16-le")[:-1]), encoding="utf-16-le")
    assert (found.documents, len(found.bad)) == (["one"], 1)


@pytest.mark.parametrize("encoding", ["no_such", "rot13", "base64", "unicode_escape", "undefined", "idna", ""])
def test_names_that_are_no_encoding_are_refused(encoding):
    with pytest.raises(InputError, match="--encoding must be one of Python's text encodings"):
        Format(encoding=encoding)
