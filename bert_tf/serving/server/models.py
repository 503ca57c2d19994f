"""The served models: the newest version of each, replaced while requests run."""

import os
import pathlib
from collections.abc import Mapping

from grpc import StatusCode
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from bert_tf.core.errors import InputError, reason_of
from bert_tf.serving.export.publishing import versions
from bert_tf.serving.server.errors import RequestError
from bert_tf.serving.server.version import Version

_State = get_model_status_pb2.ModelVersionStatus


class Model:
    """The newest version of a model that can be loaded.

    Attributes:
      version: requests keep a reference, so a replaced version lives until its last request ends. None before the
        first `refresh`.
      failure: (number, reason) of a newer version that cannot be loaded, or None.
    """

    def __init__(self, name: str, base_path: str):
        self.name, self.base_path = name, base_path
        self.version: Version | None = None
        self.failure: tuple[int, str] | None = None
        self._loaded: tuple[int, list] | None = None  # (number, files)
        self._failed: tuple[int, list] | None = None

    def refresh(self) -> None:
        """Loads the newest version, unless it is loaded already or failed and has not changed since."""
        found = versions(self.base_path)
        if not found:
            return
        number = max(found)
        path = os.path.join(self.base_path, found[number])
        seen = (number, _files(path))  # before loading: a folder that is still being copied is tried again
        if seen == self._loaded:
            self.failure = self._failed = None
        elif seen != self._failed:
            try:
                self.version, self._loaded = Version(path, number), seen
            except Exception as error:  # whatever is wrong with it, the old version must go on
                reason = reason_of(error)
                self.failure, self._failed = (number, reason), seen
                print(f"{self.name}: version {number} could not be loaded: {reason}", flush=True)
            else:
                self.failure = self._failed = None
                print(f"{self.name}: version {number} is served", flush=True)


class Models:
    """All models of a server.

    Args:
      base_paths: {name: folder of versions}.

    Raises:
      InputError: a model has no version that can be loaded.
    """

    def __init__(self, base_paths: Mapping[str, str]):
        self._models = {name: Model(name, path) for name, path in base_paths.items()}
        self.refresh()
        for model in self._models.values():
            if model.version is None:
                received = f"one that fails: {model.failure[1]}" if model.failure else "none"
                raise InputError(
                    f"--model_base_path {model.base_path}: expected numbered versions as bert_tf.export writes them. "
                    f"Received {received}."
                )

    def refresh(self) -> None:
        """Loads new versions of all models."""
        for model in self._models.values():
            try:
                model.refresh()
            except OSError as error:  # the folder is unreadable or changes; the next refresh tries again
                print(f"{model.name}: {error}", flush=True)

    def names(self) -> list[str]:
        return list(self._models)

    def version(self, name: str, number: int | None = None) -> Version:
        """The served version of a model.

        Raises:
          RequestError: there is no such model, or `number` is another version.
        """
        version = self._model(name).version
        if version is None or number not in (None, version.number):
            raise _not_found(f"Specific({name}, {number})")
        return version

    def status(self, name: str, number: int | None = None) -> get_model_status_pb2.GetModelStatusResponse:
        """The served version and one that cannot be loaded, newest first; of these only `number`, if given.

        Raises:
          RequestError: there is no such model or version.
        """
        model, response = self._model(name), get_model_status_pb2.GetModelStatusResponse()
        states = [(model.version.number, _State.AVAILABLE, "")] if model.version else []
        if model.failure:
            states.append((model.failure[0], _State.END, model.failure[1]))
        for version, state, reason in sorted(states, reverse=True):
            if number in (None, version):
                status = response.model_version_status.add(version=version, state=state)
                status.status.error_code = 2 if reason else 0  # UNKNOWN, OK
                status.status.error_message = reason
        if not response.model_version_status:
            raise _not_found(f"Specific({name}, {number})")
        return response

    def metadata(self, name: str, number: int | None = None) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """The signatures of the served version.

        Raises:
          RequestError: there is no such model or version.
        """
        version, response = self.version(name, number), get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name, response.model_spec.version.value = name, version.number
        signatures = get_model_metadata_pb2.SignatureDefMap()
        for signature, value in version.signature_defs.items():
            signatures.signature_def[signature].CopyFrom(value)
        response.metadata["signature_def"].Pack(signatures)
        return response

    def _model(self, name: str) -> Model:
        if name not in self._models:
            raise _not_found(f"Latest({name})")
        return self._models[name]


def _not_found(asked: str) -> RequestError:
    return RequestError(StatusCode.NOT_FOUND, f"Servable not found for request: {asked}")


def _files(path: str) -> list[tuple[str, int, int]]:
    """Paths, sizes and modification times of what a folder contains."""
    found = [(str(file), file.stat()) for file in pathlib.Path(path).rglob("*")]
    return sorted((name, status.st_size, status.st_mtime_ns) for name, status in found)
