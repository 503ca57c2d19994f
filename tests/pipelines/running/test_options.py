"""Beam's options for S3 reach workers, or are refused."""

import os

import pytest

from bert_tf.core.errors import InputError
from pipelines.running.options import local_options


def test_options_of_s3_become_variables_that_worker_processes_inherit(monkeypatch):
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "before")  # so that monkeypatch takes back what the options set
    local_options(["--s3_endpoint_url=http://127.0.0.1:9", "--s3_access_key_id=a", "--direct_num_workers=2"])
    assert os.environ["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9"
    assert os.environ["AWS_ACCESS_KEY_ID"] == "a"
    assert os.environ["AWS_SECRET_ACCESS_KEY"] == "before"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--runner=PortableRunner", "--job_endpoint=h:1", "--s3_access_key_id=a"],
            "--s3_access_key_id: expected AWS_ACCESS_KEY_ID in the environment of all workers",
        ),
        (["--s3_disable_ssl"], "--s3_disable_ssl: expected AWS_ENDPOINT_URL and ~/.aws/config in the environment"),
    ],
)
def test_options_of_s3_that_would_not_reach_a_worker_are_refused(arguments, sentence, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    with pytest.raises(InputError, match=sentence):
        local_options(arguments)
    assert "AWS_ACCESS_KEY_ID" not in os.environ
