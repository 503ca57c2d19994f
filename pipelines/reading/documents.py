"""Identity of documents."""

import hashlib


def document_id(text: str) -> bytes:
    """16 bytes that depend on the content alone, so that the same document is the same in any file."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()
