"""The evaluation cache: finished results by the digest of what they depend on, and journals of unfinished ones.

    <root>/<kind>/<key>.entry     one line of JSON (kind, key, parts, sha256), then the data, compressed
    <root>/<kind>/<key>.journal   one line per append, each with its checksum; exists only until the entry does
    <root>/<kind>/<key>.lock      held by the process that works on the key

`key` is the digest of `parts`, which hold everything that can change the result. An entry appears whole or not at all.
"""

from distill_eval.store.cache import CacheEntry, Store, default_root
from distill_eval.store.files import JSON, check_folder, digest, remove, write_atomic
from distill_eval.store.journal import Journal

__all__ = ["JSON", "CacheEntry", "Journal", "Store", "check_folder", "default_root", "digest", "remove", "write_atomic"]
