import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.reading.formats.lines import Lines
from pipelines.reading.outcomes import BadRecord
from tests.pipelines.reading.whole_file import read


def write(path, data: bytes):
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("data", "position", "reason"),
    [
        (b"fine\n\n\nx\ny\xff\xfe\n", 5, "bytes that are no UTF-8"),
        (b"fine\n\nx\ny\0z\n", 4, "zero bytes, as in binary files and UTF-16"),
        (b"fine\n\n\x1b$B$3$s\x1b(B\n", 3, "escape sequences of ISO 2022"),
    ],
)
def test_bad_records_are_named_and_the_others_read(tmp_path, data, position, reason):
    found = read(write(tmp_path / "a.txt", data))
    assert found.documents == ["fine"]
    (bad,) = found.bad
    assert (bad.path, bad.unit, bad.position) == (str(tmp_path / "a.txt"), "line", position)
    assert bad.reason.startswith(reason)
    assert bad.bytes == len(data.lstrip(b"fine\n"))


@pytest.mark.parametrize("body", [b"x" * 2000 + b"\ny", b"x\n" * 1999 + b"x"])
def test_a_document_that_is_too_large_is_a_loss_of_its_bytes(tmp_path, body):
    path = write(tmp_path / "a.txt", b"fine\n\n" + body + b"\n\nfine")
    found = read(path, max_document_bytes=1000)
    assert (found.documents, found.bad) == (["fine", "fine"], [])
    (loss,) = found.losses
    assert loss[1:3] == ("line", 3)
    assert loss.reason == "a document of more than 1,000 bytes without a blank line (--max_document_bytes)"
    assert loss.bytes == loss.weight == len(body) + 2
    assert read(path, max_document_bytes=10_000).documents == ["fine", body.decode(), "fine"]


def test_blank_lines_separate_documents(tmp_path):
    path = write(tmp_path / "a.txt", b"\n\none\ntwo\n\n \n\nthree")
    assert read(path) == (["one\ntwo", "three"], [], [])


def test_a_line_can_be_a_document(tmp_path):
    path = write(tmp_path / "a.txt", "eins\n\nzwei\u2028drei\r\n \nvier \n\xff\nfünf".encode("latin-1", "replace"))
    assert read(path, document_per="line", encoding="latin-1").documents == [
        "eins",
        "zwei?drei",
        "vier ",
        "\xff",
        "fünf",
    ]
    found = read(path, document_per="line")
    assert found.documents == ["eins", "zwei?drei", "vier "]
    assert [bad[1:] for bad in found.bad] == [
        ("line", 6, "bytes that are no UTF-8", 2),
        ("line", 7, "bytes that are no UTF-8", 4),
    ]
    found = read(write(path, b"12345\n123456\n1234"), document_per="line", max_document_bytes=5)
    assert (found.documents, [loss[1:3] for loss in found.losses]) == (["12345", "1234"], [("line", 2)])


def test_a_file_can_be_a_document(tmp_path):
    path = write(tmp_path / "a.txt", b"one\n\ntwo\n")
    assert read(path, document_per="file").documents == ["one\n\ntwo"]
    assert read(path, cuts=[3, 6], document_per="file").documents == ["one\n\ntwo"]
    (loss,) = read(path, document_per="file", max_document_bytes=4).losses
    assert (loss.reason, loss.bytes) == ("a document of more than 4 bytes (--max_document_bytes)", 9)
    assert read(write(path, b"\n \n"), document_per="file") == ([], [], [])


def test_document_is_the_same_wherever_it_stands(tmp_path):
    one = write(tmp_path / "a.txt", b"\xef\xbb\xbfone\n\ntwo")
    two = write(tmp_path / "b.txt", b"two\r\n\r\none\r\n")
    assert sorted(read(one).documents) == sorted(read(two).documents)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_line_ends_of_all_systems(tmp_path, end, compress):
    path = write(tmp_path / "a.txt", compress(end.join([b"one", b"two", b"", b"three", b"", b""])))
    assert read(path) == (["one\ntwo", "three"], [], [])
    assert read(path, document_per="line") == (["one", "two", "three"], [], [])


def test_a_carriage_return_within_lines_is_no_line_end_and_a_file_may_change_its_line_ends(tmp_path):
    assert read(write(tmp_path / "a.txt", b"one\rtwo\n\nthree\n")).documents == ["one\rtwo", "three"]
    line = b"a" * 99 + b"\r"
    old = line * 12_000 + b"\rb\r\r"
    found = read(write(tmp_path / "b.txt", old + b"c\r\nd\r\n\r\ne\r\n"), cuts=[700_000])
    assert found.documents == ["\n".join(["a" * 99] * 12_000), "b", "c\nd", "e"]


def test_separators_of_unicode_stay_in_their_document(tmp_path):
    text = "one\u2028two\x85three\x0bfour\n\u3000\nfive"
    assert read(write(tmp_path / "a.txt", text.encode())).documents == [text]


@given(data=st.data())
@pytest.mark.parametrize("document_per", ["block", "line", "file"])
def test_a_file_read_in_parts_gives_every_document_once(tmp_path_factory, document_per, data):
    path = tmp_path_factory.mktemp("parts") / "a.txt"
    lines = ["one", "", "two\r", " ", "\t\r", "", "three", "four", "\u00e9", " five", "\udcff", "x" * 60, "\0"]
    drawn = data.draw(st.lists(st.sampled_from(lines), max_size=40))
    content = "\n".join(drawn).encode("utf-8", "surrogateescape")
    write(path, content)
    cuts = data.draw(st.lists(st.integers(1, len(content) + 1), max_size=6))
    whole = read(path, document_per=document_per, max_document_bytes=50)
    parts = read(path, cuts, document_per=document_per, max_document_bytes=50)
    assert parts.documents == whole.documents
    for one, other in zip(parts[1:], whole[1:], strict=True):
        assert [(x.reason, x.bytes) for x in one] == [(x.reason, x.bytes) for x in other]


@given(st.lists(st.sampled_from(["a", "b c", "", "", " ", "\r", "\ufeff", "\x0c", " d", "\udc80", "\0"]), max_size=40))
@pytest.mark.parametrize("document_per", ["block", "line"])
def test_plain_text_is_the_same_however_it_is_read(tmp_path_factory, document_per, lines):
    path = tmp_path_factory.mktemp("plain") / "a.txt"
    path.write_bytes("\n".join(lines).encode("utf-8", "surrogateescape"))
    fast = read(path, document_per=document_per)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Lines, "plain_documents", lambda self, separator: [])
        assert read(path, document_per=document_per) == fast


@pytest.mark.parametrize("document_per", ["block", "line"])
def test_plain_text_is_read_by_the_megabyte(tmp_path, document_per):
    separator = "\n" if document_per == "line" else "\n\n"
    documents = [f"Document {n}.{separator[1:]}Its second line." for n in range(50_000)]
    write(tmp_path / "a.txt", (separator.join(documents) + separator + "\xff").encode())
    line_by_line = 0
    with pytest.MonkeyPatch.context() as patch:
        slow = Lines.text

        def counted(*arguments):
            nonlocal line_by_line
            line_by_line += 1
            return slow(*arguments)

        patch.setattr(Lines, "text", counted)
        assert read(tmp_path / "a.txt", document_per=document_per).documents == [*documents, "\xff"]
    assert line_by_line < 10


def test_one_endless_line_is_one_loss(tmp_path):
    path = write(tmp_path / "a.txt", b"one\n\n" + b"x" * 5_000_000 + b"\n\ntwo\n")
    found = read(path, range(1_000_000, 5_000_000, 1_000_000), max_document_bytes=1000)
    assert (found.documents, found.bad) == (["one", "two"], [])
    assert [loss[1:3] for loss in found.losses] == [("line", 3)]
    assert found.losses[0].bytes == 5_000_002


def test_the_size_of_a_document_counts_its_line_breaks(tmp_path):
    body = b"\n".join([b"a"] * 50)  # 99 bytes
    for name, data in (("a.txt", body + b"\n\nb\n"), ("a.wiki", b'<doc id="1" title="x">\n' + body + b"\n</doc>\n")):
        write(tmp_path / name, data)
        assert read(tmp_path / name, max_document_bytes=99).documents[0] == body.decode()
        (loss,) = read(tmp_path / name, max_document_bytes=98).losses
        assert loss.reason.startswith("a document of more than 98 bytes")


def test_wikiextractor_output_loses_title_and_markup(tmp_path):
    data = (
        '<doc id="11" url="https://x" title="A">\nA\n\n</doc>\n'
        '<doc id="12" url="https://x" title="A &amp; B">\nA & B\n\nFirst &lt;one&gt;.\nSecond.\n\n</doc>\n'
        '<doc id="13" url="https://x" title="Other">\nNo title line.\n</doc>\n<doc id="14" title="cut">\nThird'
    )
    found = read(write(tmp_path / "wiki_00", data.encode()))
    assert found.documents == ["First <one>.\nSecond.", "No title line."]
    assert found.bad == [BadRecord(str(tmp_path / "wiki_00"), "line", 15, "a <doc> without </doc>", 31)]


def test_the_rest_of_a_wikipedia_article_before_the_first_one_is_bad(tmp_path):
    """As in the second file of `split`."""
    data = b'its end.\n</doc>\n<doc id="2" title="x">\nx\n\none\n</doc>\n'
    found = read(write(tmp_path / "wiki_01", data))
    assert (found.documents, len(found.bad), found.losses) == (["one"], 1, [])


def test_text_outside_of_wikipedia_articles_is_bad(tmp_path):
    data = b'<doc id="1">\none\n</doc>\n\nstray\ntext\n\n<doc id="2">\ntwo\n<doc id="3">\nthree\n</doc>\nmore\n'
    path = write(tmp_path / "wiki_00", data)
    whole = read(path)
    assert whole.documents == ["one", "three"]
    assert [bad[2:] for bad in whole.bad] == [
        (5, "text outside of <doc>", 12),
        (8, "a <doc> without </doc>", 17),
        (13, "text outside of <doc>", 5),
    ]
    for cut in range(1, len(data)):
        assert [bad[3:] for bad in read(path, [cut]).bad] == [bad[3:] for bad in whole.bad], cut
        assert read(path, [cut]).documents == whole.documents
