"""Silences useless log records of Beam in the launcher. Does not import Beam, which warns while it is imported."""

import logging

_ALSO_RAISED = ("common", "worker", "portability.fn_api_runner", "portability.local_job_service")


def quiet_beam() -> None:
    """Silences Beam's loggers whose errors also arrive as exceptions, and what Beam logs to the root logger.

    The latter is a warning, during the import, that BigQuery's client is missing.
    """
    for name in _ALSO_RAISED:
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(lambda record: "apache_beam" not in record.pathname)
