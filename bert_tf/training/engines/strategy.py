"""The tf.distribute strategy that a config names, and this process's place in it."""

import glob
import importlib.util
import json
import os
import time
from collections.abc import Callable

import tensorflow as tf

from bert_tf.core.errors import InputError, reason_of
from bert_tf.training.worker import Worker

_TPU_TRIES, _TPU_PAUSE = 6, 10.0  # seconds between two


def create(name: str) -> tf.distribute.Strategy:
    """auto, single, mirrored, multi_worker or tpu.

    auto: a TPU if this host has one or TPU_NAME names one, else the workers of TF_CONFIG, else all GPUs of this host,
    else its CPU. mirrored on a host without GPUs splits the CPU into two logical devices, which is the way to try the
    distributed path anywhere. Call it before anything else of TensorFlow: workers wait here for each other.

    Raises:
      InputError: mirrored on a CPU that TensorFlow has already taken as one device; multi_worker without a TF_CONFIG
        that makes sense; tpu where there is none.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if name == "auto":
        name = _one_of_several() or ("mirrored" if len(gpus) > 1 else "single")
    if name == "tpu":
        return _tpu()
    if name == "multi_worker":
        this_worker(name)
        return tf.distribute.MultiWorkerMirroredStrategy()
    if name == "single":
        return tf.distribute.OneDeviceStrategy("/GPU:0" if gpus else "/CPU:0")
    if gpus:
        return tf.distribute.MirroredStrategy()
    cpu = tf.config.list_physical_devices("CPU")[0]
    if tf.config.get_logical_device_configuration(cpu) is None:
        try:
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
        except RuntimeError:
            raise InputError(
                "train.strategy=mirrored: expected to split the CPU into two logical devices before TensorFlow starts. "
                "Received a process in which it has started with one."
            ) from None
    devices = [device.name for device in tf.config.list_logical_devices("CPU")]
    return tf.distribute.MirroredStrategy(devices, cross_device_ops=tf.distribute.ReductionToOneDevice())


def this_worker(name: str) -> Worker:
    """This process's place among the workers: TF_CONFIG's for multi_worker and auto, the only one otherwise.

    Raises:
      InputError: TF_CONFIG is not what TensorFlow's documentation describes, or has parameter servers.
    """
    text = os.environ.get("TF_CONFIG", "")
    if name != "multi_worker" and not (name == "auto" and _one_of_several() == "multi_worker"):
        return Worker()
    example = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
    expected = f"train.strategy={name}: expected TF_CONFIG like {example}, the same cluster on every worker."
    if not text:
        raise InputError(f"{expected} Received none.")
    try:
        config = json.loads(text)
        cluster, task = config["cluster"], config["task"]
        other = sorted(set(cluster) - {"chief", "worker"})
        tasks = [(kind, i) for kind in ("chief", "worker") for i in range(len(cluster.get(kind, [])))]
        if not other:
            return Worker(tasks.index((task["type"], int(task["index"]))), len(tasks))
    except (ValueError, KeyError, TypeError, AttributeError):
        raise InputError(f"{expected} Received: {text[:200]}.") from None
    raise InputError(f"{expected} Received a cluster with {other[0]!r}.")


def _one_of_several() -> str | None:
    """What auto is where there is more than this host's CPU and GPUs; None where there is not."""
    if _has_tpu():
        return "tpu"
    return "multi_worker" if os.environ.get("TF_CONFIG") else None


def _has_tpu() -> bool:
    # The device files of a TPU VM, older and newer generations; other devices may have the newer kind too.
    has_files = glob.glob("/dev/accel[0-9]*") or glob.glob("/dev/vfio/[0-9]*")
    return bool(os.environ.get("TPU_NAME") or (has_files and importlib.util.find_spec("libtpu")))


def _tpu() -> tf.distribute.Strategy:
    name = os.environ.get("TPU_NAME", "")
    if not name and not tf.config.list_physical_devices("TPU"):
        raise InputError(
            "train.strategy=tpu: expected a TPU on this host, with tensorflow-tpu installed (requirements/tpu.txt), or "
            "TPU_NAME. Received neither."
        )
    where = f"TPU_NAME={name}" if name else "the TPU of this host"
    for left in range(_TPU_TRIES - 1, -1, -1):
        try:
            resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name or "local")
            if name not in ("", "local"):
                tf.config.experimental_connect_to_cluster(resolver)
            tf.tpu.experimental.initialize_tpu_system(resolver)
            return tf.distribute.TPUStrategy(resolver)
        except (tf.errors.UnavailableError, tf.errors.DeadlineExceededError, tf.errors.AbortedError) as error:
            # A TPU that has just been created, or that another process has just let go of, takes a while.
            reason = reason_of(error)
            if not left:
                raise InputError(
                    f"train.strategy=tpu: expected {where} to answer within {_TPU_TRIES} tries. Received: {reason}."
                ) from None
            print(f"{where} does not answer ({reason}); trying again in {_TPU_PAUSE:.0f} s", flush=True)
            time.sleep(_TPU_PAUSE)
        except (ValueError, RuntimeError, tf.errors.OpError) as error:
            raise InputError(
                f"train.strategy=tpu: expected {where} to be a TPU that no other process uses. "
                f"Received: {reason_of(error)}."
            ) from None
    raise AssertionError  # the last try returns or raises


def distributed(strategy: tf.distribute.Strategy, batches: Callable[[Worker], tf.data.Dataset]):
    """Batches as a strategy takes them: each replica its own equal part, in order.

    Args:
      batches: a worker -> its part of a stream of global batches, of static shapes.

    Returns:
      The distributed dataset, and {name: shape of a global batch}.
    """
    shapes = {}

    def of_worker(context: tf.distribute.InputContext) -> tf.data.Dataset:
        dataset = batches(Worker(context.input_pipeline_id, context.num_input_pipelines))
        replicas = context.num_replicas_in_sync // context.num_input_pipelines
        for name, spec in dataset.element_spec.items():
            shapes[name] = (spec.shape[0] * context.num_input_pipelines, *spec.shape[1:])
        if replicas == 1:
            return dataset
        return (
            dataset.map(
                lambda batch: {
                    name: tf.reshape(x, [replicas, x.shape[0] // replicas, *x.shape[1:]]) for name, x in batch.items()
                }
            )
            .unbatch()
            .prefetch(replicas)
        )

    return strategy.distribute_datasets_from_function(of_worker), shapes
