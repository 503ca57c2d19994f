"""The flags that say how to read text."""

import pytest
from absl import flags

from pipelines.reading.flags import ReadingFlags


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "block"),
        (["--document_per=line"], "line"),
        (["--document_per_file"], "file"),
        (["--document_per_file=false"], "block"),
        (["--nodocument_per_file", "--document_per=line"], "line"),
        (["--document_per=line", "--document_per_file"], "file"),
        (["--document_per_file", "--document_per=line"], "line"),
    ],
)
def test_the_old_flag_is_another_name_of_the_new_one(monkeypatch, arguments, expected):
    values = flags.FlagValues()
    monkeypatch.setattr(flags, "FLAGS", values)
    for name in (
        "DEFINE_multi_string",
        "DEFINE_string",
        "DEFINE_enum",
        "DEFINE_flag",
        "DEFINE_integer",
        "DEFINE_float",
    ):
        define = getattr(flags, name)
        monkeypatch.setattr(flags, name, lambda *a, _define=define, **k: _define(*a, flag_values=values, **k))
    reading = ReadingFlags()
    values(["command", "--input=a.txt", *arguments])
    assert reading.file_format().document_per == expected
