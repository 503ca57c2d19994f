"""objects://ROOT/KEY: a file system for Beam as gs:// and s3:// are. Keys and nothing else: there are no folders."""

import os
import urllib.parse

from apache_beam.io.filesystem import BeamIOError, CompressedFile, CompressionTypes, FileMetadata, FileSystem

SCHEME = "objects"


class ObjectStore(FileSystem):
    """Each object is a file in the root, whose name is the quoted key."""

    @classmethod
    def scheme(cls):
        return SCHEME

    def join(self, basepath, *paths):
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path):
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path):
        pass

    def has_dirs(self):
        return False

    def _list(self, dir_or_prefix):
        # Objects lie in one folder of this machine, the part of the URL up to "//".
        root, prefix = self._parts(dir_or_prefix)
        for name in sorted(os.listdir(root)):
            key = urllib.parse.unquote(name)
            if key.startswith(prefix):
                status = os.stat(os.path.join(root, name))
                yield FileMetadata(f"{SCHEME}://{root}//{key}", status.st_size, status.st_mtime)

    def create(self, path, mime_type="application/octet-stream", compression_type=CompressionTypes.AUTO):
        return self._opened(path, "wb", compression_type)

    def open(self, path, mime_type="application/octet-stream", compression_type=CompressionTypes.AUTO):
        return self._opened(path, "rb", compression_type)

    def copy(self, source_file_names, destination_file_names):
        for source, destination in zip(source_file_names, destination_file_names, strict=True):
            with open(self._file(source), "rb") as there, open(self._file(destination), "wb") as here:
                here.write(there.read())

    def rename(self, source_file_names, destination_file_names):
        self.copy(source_file_names, destination_file_names)
        self.delete(source_file_names)

    def exists(self, path):
        return os.path.isfile(self._file(path))

    def size(self, path):
        return os.stat(self._file(path)).st_size

    def last_updated(self, path):
        return os.stat(self._file(path)).st_mtime

    def checksum(self, path):
        return str(self.size(path))

    def metadata(self, path):
        return FileMetadata(path, self.size(path), self.last_updated(path))

    def delete(self, paths):
        missing = {path: FileNotFoundError(path) for path in paths if not self.exists(path)}
        for path in set(paths) - set(missing):
            os.remove(self._file(path))
        if missing:
            raise BeamIOError("Delete operation failed", missing)

    def _opened(self, path, mode, compression_type):
        file = open(self._file(path), mode)  # noqa: SIM115 - the caller closes it
        if compression_type in (CompressionTypes.UNCOMPRESSED, CompressionTypes.AUTO):
            return file
        return CompressedFile(file, compression_type)

    def _file(self, path: str) -> str:
        root, key = self._parts(path)
        return os.path.join(root, urllib.parse.quote(key, safe=""))

    @staticmethod
    def _parts(path: str) -> tuple[str, str]:
        root, _, key = path.removeprefix(f"{SCHEME}://").partition("//")
        return root, key
