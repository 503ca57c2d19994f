"""How a run finds its TPU, with a cluster resolver that is a stand-in: none was at hand."""

import pytest
import tensorflow as tf

from bert_tf.core.errors import InputError
from bert_tf.training.engines import strategy


class FakeResolver:
    """A cluster resolver that fails as often as it is told to."""

    def __init__(self, failures):
        self.failures, self.asked = list(failures), []

    def __call__(self, tpu):
        self.asked.append(tpu)
        if self.failures:
            raise self.failures.pop(0)
        return self


@pytest.fixture
def tpu(monkeypatch):
    """Makes strategy.create("tpu") meet a resolver; what comes behind it is said to work."""

    def meet(*failures, name="my-tpu") -> FakeResolver:
        resolver = FakeResolver(failures)
        if name:
            monkeypatch.setenv("TPU_NAME", name)
        else:
            monkeypatch.delenv("TPU_NAME", raising=False)
        monkeypatch.setattr(tf.distribute.cluster_resolver, "TPUClusterResolver", resolver)
        monkeypatch.setattr(
            tf.config, "experimental_connect_to_cluster", lambda found: resolver.asked.append("connect")
        )
        monkeypatch.setattr(tf.tpu.experimental, "initialize_tpu_system", lambda found: resolver.asked.append("start"))
        monkeypatch.setattr(tf.distribute, "TPUStrategy", lambda found: ("strategy", found))
        monkeypatch.setattr(strategy, "_TPU_PAUSE", 0.0)
        return resolver

    return meet


def test_a_tpu_that_takes_a_while_is_asked_again(tpu, capsys):
    unavailable = tf.errors.UnavailableError(None, None, "not yet")
    resolver = tpu(unavailable, unavailable)
    assert strategy.create("tpu") == ("strategy", resolver)
    assert resolver.asked == ["my-tpu"] * 3 + ["connect", "start"]
    assert capsys.readouterr().out.count("TPU_NAME=my-tpu does not answer (not yet); trying again") == 2


def test_auto_takes_the_tpu_that_has_a_name(tpu):
    resolver = tpu(name="local")
    assert strategy.create("auto") == ("strategy", resolver)
    assert resolver.asked == ["local", "start"]  # nothing to connect to on this host


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ([tf.errors.UnavailableError(None, None, "away")] * 6, "expected TPU_NAME=my-tpu to answer within 6 tries. "),
        (
            [ValueError("no such TPU")],
            "expected TPU_NAME=my-tpu to be a TPU that no other process uses. Received: no such",
        ),
        ([tf.errors.AlreadyExistsError(None, None, "in use")], "no other process uses. Received: in use."),
    ],
)
def test_a_tpu_that_does_not_come_is_told(tpu, failures, message):
    tpu(*failures)
    with pytest.raises(InputError, match=message):
        strategy.create("tpu")


def test_no_tpu_at_all_is_told(tpu):
    tpu(name="")
    with pytest.raises(InputError, match="expected a TPU on this host, .* or TPU_NAME. Received neither."):
        strategy.create("tpu")
