"""Beam's options with a local default that works on a closed network."""

import argparse
import os
from typing import NoReturn

from absl import logging
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import (
    DirectOptions,
    PipelineOptions,
    PortableOptions,
    S3Options,
    StandardOptions,
)
from apache_beam.runners import create_runner

from bert_tf.core.errors import InputError, reason_of, require
from pipelines.running.job_servers import check_job_server, has_job_server

# Beam's options for its own S3 client, and where boto3 looks for the same.
_S3_VARIABLES = {
    "s3_access_key_id": "AWS_ACCESS_KEY_ID",
    "s3_secret_access_key": "AWS_SECRET_ACCESS_KEY",
    "s3_session_token": "AWS_SESSION_TOKEN",
    "s3_endpoint_url": "AWS_ENDPOINT_URL_S3",
    "s3_region_name": "AWS_DEFAULT_REGION",
    "s3_verify": "AWS_CA_BUNDLE",
}


def local_options(arguments: list[str]) -> PipelineOptions:
    """Parses Beam's options.

    The runner is FnApiRunner unless named, since Beam's default tries to download one. Several local workers are
    processes unless a mode is named, since Beam otherwise ignores their number.

    Raises:
      InputError: an argument that neither Beam nor this project knows, a wrong value, an unknown runner, or a job
        server that does not answer.
    """
    names = {argument.split("=")[0] for argument in arguments}
    if "--runner" not in names:
        arguments = ["--runner=FnApiRunner", *arguments]
    if "--direct_num_workers" in names and "--direct_running_mode" not in names:
        arguments = [*arguments, "--direct_running_mode=multi_processing"]
    options = PipelineOptions(arguments)
    # Beam calls this with its parser of all options.
    options.get_all_options(add_extra_args_fn=lambda parser: _check(parser, arguments), retain_unknown_options=True)
    runner = options.view_as(StandardOptions).runner
    try:
        create_runner(runner)
    except (ValueError, ImportError) as error:
        raise InputError(f"--runner {runner}: expected a runner of Beam. Received: {reason_of(error)}.") from None
    if runner != "FnApiRunner":
        logging.set_verbosity(logging.INFO)  # a service's runner logs its progress
    workers = options.view_as(DirectOptions).direct_num_workers
    require(workers >= 0, "--direct_num_workers must not be negative", workers)
    _export_s3_options(options)
    check_job_server(options)
    FileSystems.set_options(options)
    return options


def _export_s3_options(options: PipelineOptions) -> None:
    """Sets the variables that worker processes inherit: Beam's local runner gives them no options.

    Raises:
      InputError: workers on other machines would not get them, or boto3 has no such variable.
    """
    given = options.view_as(S3Options)
    names = [name for name in S3Options([]).get_all_options(drop_default=False) if name.startswith("s3_")]
    for name in names:
        value = getattr(given, name)
        if not value:
            continue
        variable = _S3_VARIABLES.get(name)
        is_here = is_local(options) or options.view_as(PortableOptions).environment_type == "LOOPBACK"
        if variable is None or not is_here:
            raise InputError(
                f"--{name}: expected {variable or 'AWS_ENDPOINT_URL and ~/.aws/config'} in the environment of all "
                "workers, where boto3 looks for it. Received it as an option, which does not reach workers."
            )
        os.environ[variable] = str(value)


def _check(parser: argparse.ArgumentParser, arguments: list[str]) -> None:
    def refuse(message: str) -> NoReturn:  # argparse would print all 150 options and exit with code 2
        raise InputError(f"Beam's options: {message}.")

    parser.error = refuse  # type: ignore[method-assign]
    known, unknown = parser.parse_known_args(arguments)
    # Job servers have options that Beam's parser does not know, but none of them takes a plain word.
    has_server = has_job_server(known.runner)
    foreign = [argument for argument in unknown if not has_server or not argument.startswith("--")]
    if foreign:
        raise InputError(f"Expected flags of this command or of Beam. Received: {foreign[0]}.")


def is_local(options: PipelineOptions) -> bool:
    """Whether the runner is Beam's own local one, which holds in memory what crosses a GroupByKey."""
    return options.view_as(StandardOptions).runner in ("FnApiRunner", "DirectRunner", "BundleBasedDirectRunner")
