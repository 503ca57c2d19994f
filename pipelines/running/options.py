"""Beam's options with a local default that works on a closed network."""

from absl import logging
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions, StandardOptions
from apache_beam.runners import create_runner

from bert_tf.core.errors import InputError, require

_WITH_JOB_SERVERS = ("portablerunner", "flinkrunner", "sparkrunner", "prismrunner")


class _Parser(pipeline_options._BeamArgumentParser):
    """Beam's own parser, which otherwise prints all 150 options and exits with code 2."""

    def error(self, message):
        raise InputError(f"Beam's options: {message}.")


def local_options(arguments: list[str]) -> PipelineOptions:
    """Parses Beam's options.

    The runner is FnApiRunner unless named, since Beam's default looks for a download. Several local workers are
    processes unless a mode is named, since Beam otherwise ignores their number.

    Raises:
      InputError: an argument that neither Beam nor this project knows, a wrong value, or an unknown runner.
    """
    names = {argument.split("=")[0] for argument in arguments}
    if "--runner" not in names:
        arguments = ["--runner=FnApiRunner", *arguments]
    if "--direct_num_workers" in names and "--direct_running_mode" not in names:
        arguments = [*arguments, "--direct_running_mode=multi_processing"]
    parser = _Parser(allow_abbrev=False)
    for options_class in PipelineOptions.__subclasses__():
        options_class._add_argparse_args(parser)
    _, unknown = parser.parse_known_args(arguments)
    options = PipelineOptions(arguments)
    runner = options.view_as(StandardOptions).runner
    # Job servers know options of their own, but none of them takes a plain word.
    has_server = runner.lower().rpartition(".")[2] in _WITH_JOB_SERVERS
    foreign = [argument for argument in unknown if not has_server or not argument.startswith("--")]
    if foreign:
        raise InputError(f"Expected flags of this command or of Beam. Received: {foreign[0]}.")
    try:
        create_runner(runner)
    except (ValueError, ImportError) as error:
        raise InputError(
            f"--runner {runner}: expected a runner of Beam. Received: {str(error).splitlines()[0]}"
        ) from None
    if runner != "FnApiRunner":
        logging.set_verbosity(logging.INFO)  # a service's runner tells its progress there
    workers = options.view_as(DirectOptions).direct_num_workers
    require(workers >= 0, "--direct_num_workers must not be negative", workers)
    return options


def is_local(options: PipelineOptions) -> bool:
    """Whether the runner is Beam's own local one, which keeps in memory what crosses a GroupByKey."""
    return options.view_as(StandardOptions).runner in ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")
