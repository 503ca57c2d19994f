"""The flags of commands that read text. Imports neither Beam nor TensorFlow: help must be quick."""

from absl import flags

flags.disclaim_key_flags()  # what is defined here is listed by --help of the command that asks for it
_INPUT_HELP = "Path, glob (*, **, ?, [...]), tfds:NAME[/CONFIG][:SPLIT] or tfds:FOLDER[:SPLIT]. May be repeated."


class _DocumentPerFile(flags.BooleanFlag):
    """The old name of --document_per=file; of the two flags the last one counts."""

    def parse(self, argument):
        super().parse(argument)
        if self.value:
            flags.FLAGS.document_per = "file"


class ReadingFlags:
    """--input and what tells how to read it, defined when an object is made.

    Args:
      text_field: default of --text_field; None for a command that knows a better one.
      document_per: default of --document_per.
      labels: whether the command reads sources and licences.
    """

    def __init__(self, *, text_field: str | None = "text", document_per: str = "block", labels: bool = True):
        self._input = flags.DEFINE_multi_string("input", None, _INPUT_HELP, required=True)
        self._text_field = flags.DEFINE_string(
            "text_field",
            text_field,
            "Field with the document in JSON, Parquet and TFDS: text, or a list of paragraphs."
            if text_field
            else "Column of the text in JSON, Parquet and TFDS; by default that of the fine-tuning.",
        )
        self._labels = {}
        if labels:
            self._labels["source_field"] = flags.DEFINE_string(
                "source_field", "", "Field with a document's source in JSON, Parquet and TFDS, for provenance files."
            )
            self._labels["licence_field"] = flags.DEFINE_string("licence_field", "", "Likewise, with its licence.")
        self._document_per = flags.DEFINE_enum(
            "document_per",
            document_per,
            ["block", "line", "file"],
            "A document of plain text: the lines up to a blank one, a line, or a file.",
        )
        flags.DEFINE_flag(_DocumentPerFile("document_per_file", False, "The same as --document_per=file."))
        self._encoding = flags.DEFINE_string(
            "encoding", "utf-8", "Of text without a byte order mark, such as latin-1 or gb18030."
        )
        self._max_document_bytes = flags.DEFINE_integer(
            "max_document_bytes", 10_000_000, "Largest document; larger ones count as lost."
        )
        self._max_bad_fraction = flags.DEFINE_float(
            "max_bad_fraction", 0.01, "Largest share of records, and of bytes in them, that may be bad."
        )
        self._max_lost_fraction = flags.DEFINE_float(
            "max_lost_fraction",
            0.0,
            "Largest share of bytes in files that break off or give no document, and in too large documents.",
        )

    @property
    def text_field(self) -> str | None:
        """--text_field, None for its absence."""
        return self._text_field.value

    def arguments(self) -> dict:
        """The arguments of a job that reads: input_patterns, max_bad_fraction and max_lost_fraction."""
        return {
            "input_patterns": self._input.value,
            "max_bad_fraction": self._max_bad_fraction.value,
            "max_lost_fraction": self._max_lost_fraction.value,
        }

    def file_format(self):
        """The Format.

        Raises:
          InputError: a wrong value.
        """
        from pipelines.reading.readers import Format

        return Format(
            text_field=self._text_field.value or "text",
            **{name: flag.value for name, flag in self._labels.items()},
            document_per=self._document_per.value,
            encoding=self._encoding.value,
            max_document_bytes=self._max_document_bytes.value,
        )
