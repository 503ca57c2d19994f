"""The models of a development server: which versions are served, and which are taken up while it runs."""

import dataclasses
import os
import sys
import threading
from collections.abc import Sequence

from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from bert_tf.core.errors import InputError
from bert_tf.serving.export.saved_model import versions
from bert_tf.serving.server.request_error import RequestError, invalid, not_found
from bert_tf.serving.server.version import Version, content_of

_LOAD_TRIES = 5  # of a folder that does not change; one that does is still being copied
_State = get_model_status_pb2.ModelVersionStatus


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """A model as TF Serving's model_config_list has it.

    Attributes:
      name: in requests.
      base_path: folder of versions.
      latest: so many of the newest versions are served; 0: all of them.
      specific: these versions and no others, if there are any.
      labels: {name: version}, by which requests may ask.
    """

    name: str
    base_path: str
    latest: int = 1
    specific: tuple[int, ...] = ()
    labels: dict[str, int] = dataclasses.field(default_factory=dict)

    def wanted(self) -> dict[int, str]:
        """{version: its folder's path} of those that are to be served, of those that are there."""
        found = {number: os.path.join(self.base_path, name) for number, name in versions(self.base_path).items()}
        if self.specific:
            return {number: path for number, path in found.items() if number in self.specific}
        return dict(list(found.items())[-self.latest :]) if self.latest else found


def read_config(path: str) -> list[ModelConfig]:
    """The models of a --model_config_file.

    Raises:
      InputError: not a ModelServerConfig in text format.
    """
    try:
        with open(path, encoding="utf-8") as file:
            config = text_format.Parse(file.read(), model_server_config_pb2.ModelServerConfig())
    except OSError as error:
        raise InputError(f"--model_config_file {path}: expected a file. Received: {error.strerror}.") from None
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise InputError(f"--model_config_file {path}: expected a ModelServerConfig. Received: {error}.") from None
    models = of_proto(config)
    if not models:
        raise InputError(f"--model_config_file {path}: expected a model_config_list. Received no model.")
    return models


def of_proto(config: model_server_config_pb2.ModelServerConfig) -> list[ModelConfig]:
    """The models of a ModelServerConfig.

    Raises:
      InputError: a name stands there twice, or is empty.
    """
    names = [model.name for model in config.model_config_list.config]
    for name in names:
        if not name or names.count(name) > 1:
            raise InputError(f"model_config_list: expected a name of its own for each model. Received: {name!r}.")
    return [
        ModelConfig(
            model.name,
            model.base_path,
            latest=0
            if model.model_version_policy.HasField("all")
            else max(1, model.model_version_policy.latest.num_versions),
            specific=tuple(model.model_version_policy.specific.versions),
            labels=dict(model.version_labels),
        )
        for model in config.model_config_list.config
    ]


@dataclasses.dataclass(frozen=True)
class _Failure:
    """How often a version could not be loaded, and why; content: what its folder held."""

    tries: int
    content: list
    reason: str

    def is_final(self, path: str) -> bool:
        return self.tries >= _LOAD_TRIES and self.content == content_of(path)


class Model:
    """The versions of one model. What was looked up stays usable after it was replaced, until its requests end.

    Attributes:
      config: what was asked for.
    """

    def __init__(self, config: ModelConfig):
        self.config = config
        self._versions: dict[int, Version] = {}  # replaced as a whole, since requests look at it meanwhile
        self._failures: dict[int, _Failure] = {}

    def loaded(self, config: ModelConfig) -> dict[int, Version]:
        """The versions that a config asks for, as far as they can be loaded; nothing that is served changes."""
        found = {}
        wanted = config.wanted()
        self._failures = {number: failure for number, failure in self._failures.items() if number in wanted}
        for number, path in wanted.items():
            version = self._versions.get(number)
            if version is None or version.content != content_of(path):  # or it was made anew under the same number
                version = self._load(config, number, path) or version
            if version is not None:
                found[number] = version
        return found

    def _load(self, config: ModelConfig, number: int, path: str) -> Version | None:
        failure = self._failures.get(number)
        if failure is not None and failure.is_final(path):
            return None
        content = content_of(path)
        try:
            version = Version(path, number)
        # Whatever is wrong with a version, those that are served must go on.
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            tries = failure.tries if failure is not None and failure.content == content else 0
            told = _Failure(tries + 1, content, reason)
            self._failures = {**self._failures, number: told}
            print(f"{config.name}: version {number} could not be loaded: {reason}", flush=True)
            return None
        self._failures = {key: value for key, value in self._failures.items() if key != number}
        return version

    def serve(self, config: ModelConfig, found: dict[int, Version]) -> None:
        """Serves these versions and no others."""
        for number in sorted({*found, *self._versions}):
            if found.get(number) is not self._versions.get(number):
                does = "is served" if number in found else "is not served any more"
                print(f"{config.name}: version {number} {does}", flush=True)
        self.config, self._versions = config, found

    def refresh(self) -> None:
        """Takes up new versions, then lets go of those that are not wanted any more."""
        found = self.loaded(self.config)
        if found and found != self._versions:  # the old ones go on until a new one has come
            self.serve(self.config, found)

    def version(self, number: int | None = None, label: str | None = None) -> Version:
        """A version by number or label; the newest for none.

        Raises:
          RequestError: it is not there.
        """
        found = self._versions
        if label:
            number = self._labelled(label)
        if number is None and found:
            return found[max(found)]
        if number not in found:
            raise self._missing(
                f"Latest({self.config.name})" if number is None else f"Specific({self.config.name}, {number})"
            )
        return found[number]

    def states(self, number: int | None = None, label: str | None = None) -> list[tuple[int, int, str]]:
        """(version, state, error) of those that are there or could not be loaded, newest first.

        Args:
          number: of a version, which alone is asked about; None for all.
          label: of a version, likewise.

        Raises:
          RequestError: there is no such version.
        """
        found = [(version, _State.AVAILABLE, "") for version in self._versions]
        failures = ((number, failure) for number, failure in self._failures.items() if number not in self._versions)
        found += [(number, _State.END, failure.reason) for number, failure in failures]
        if label:
            number = self._labelled(label)
        if number is not None:
            found = [state for state in found if state[0] == number]
            if not found:
                raise self._missing(f"Specific({self.config.name}, {number})")
        return sorted(found, reverse=True)

    def _labelled(self, label: str) -> int:
        if label not in self.config.labels:
            raise invalid(f"Unrecognized servable version label: {label}")
        return self.config.labels[label]

    @staticmethod
    def _missing(asked: str) -> RequestError:
        return not_found(f"Servable not found for request: {asked}")


class Models:
    """All models of a server, looked at again every so many seconds.

    Args:
      configs: the models.
      poll_seconds: between two looks at the folders; 0 for none.

    Raises:
      InputError: a model has no version that can be loaded.
    """

    def __init__(self, configs: Sequence[ModelConfig], poll_seconds: float):
        self._models: dict[str, Model] = {}
        self._poll_seconds = poll_seconds
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.replace(configs)

    def replace(self, configs: Sequence[ModelConfig]) -> None:
        """Serves these models and no others, all of them or, if one cannot be served, as before.

        Raises:
          InputError: naming a model that has no version, or none for one of its labels.
        """
        with self._lock:
            made = []
            for config in configs:
                model = self._models.get(config.name)
                if model is None or model.config.base_path != config.base_path:
                    model = Model(config)
                try:
                    found = model.loaded(config)
                except OSError as error:
                    raise InputError(
                        f"--model_base_path {config.base_path}: expected a folder that can be read. Received: "
                        f"{error.strerror}."
                    ) from None
                if not found:
                    failed = [reason for _, _, reason in model.states() if reason]
                    raise InputError(
                        f"--model_base_path {config.base_path}: expected numbered versions as bert_tf.export writes "
                        f"them. Received {f'one that fails: {failed[0]}' if failed else 'none'}."
                    )
                for label, number in config.labels.items():
                    if number not in found:
                        raise InputError(
                            f"version_labels of {config.name}: expected one of the versions that are served, "
                            f"{', '.join(map(str, found))}. Received {label}: {number}."
                        )
                made.append((model, config, found))
            for model, config, found in made:
                model.serve(config, found)
            self._models = {config.name: model for model, config, _ in made}

    def start(self) -> None:
        """Begins to look for new versions."""
        if self._poll_seconds > 0:
            threading.Thread(target=self._poll, daemon=True).start()

    def stop(self) -> None:
        self._stopped.set()

    def _poll(self) -> None:
        while not self._stopped.wait(self._poll_seconds):
            with self._lock:
                for name, model in self._models.items():
                    try:
                        model.refresh()
                    except OSError as error:  # of the folder; it is looked at again
                        print(f"{name}: {error}", file=sys.stderr, flush=True)

    def names(self) -> list[str]:
        return list(self._models)

    def model(self, name: str) -> Model:
        """A model by name.

        Raises:
          RequestError: there is none.
        """
        found = self._models.get(name)
        if found is None:
            raise not_found(f"Servable not found for request: Latest({name})")
        return found
