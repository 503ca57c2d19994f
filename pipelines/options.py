"""Beam's options with a local default that works on a closed network."""

from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from bert_tf.errors import InputError


def local_options(arguments: list[str]) -> PipelineOptions:
    """Parses Beam's options; the runner is FnApiRunner unless named, since the default one looks for a download.

    Raises:
      InputError: an option that neither Beam nor this project knows (local runner only: job servers have their own).
    """
    if not any(argument.split("=")[0] == "--runner" for argument in arguments):
        arguments = ["--runner=FnApiRunner", *arguments]
    options = PipelineOptions(arguments)
    if options.view_as(StandardOptions).runner == "FnApiRunner":
        unknown = set(options.get_all_options(retain_unknown_options=True)) - set(options.get_all_options())
        if unknown:
            raise InputError(f"Expected flags of this command or of Beam. Received: --{min(unknown)}.")
    return options
