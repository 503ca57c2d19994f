"""Silences what Beam logs in the launcher and nobody needs. Does not import Beam, which already warns on import."""

import logging

_ALSO_RAISED = ("common", "worker", "portability.fn_api_runner", "portability.local_job_service")


def quiet_beam() -> None:
    """Sets levels of Beam's loggers whose errors also arrive as exceptions, and drops what it logs without a logger.

    The latter is a warning on import that BigQuery's client is missing.
    """
    for name in _ALSO_RAISED:
        logging.getLogger(f"apache_beam.runners.{name}").setLevel(logging.CRITICAL)
    logging.getLogger().addFilter(lambda record: "apache_beam" not in record.pathname)
