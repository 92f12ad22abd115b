"""Turning what users hold into plain Python values and JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

__all__ = ["MASK", "is_secret", "masked", "plain", "without_passwords"]

MASK = "********"
_SECRET_WORDS = (
    "api_key", "apikey", "access_key", "secret_key", "private_key", "token", "password", "passwd", "passphrase",
    "secret", "credential", "credentials", "authorization",
)  # fmt: skip


@lru_cache(maxsize=4096)
def is_secret(key: object) -> bool:
    """Whether a key names something that must not be written anywhere: ``api_key``, ``token``, ``password``, ..."""
    if not isinstance(key, str):
        return False
    name = key.lower().replace("-", "_")
    if name.endswith(("_file", "_path")) or name.startswith(("n_", "num_", "max_", "min_")):
        return False
    return any(name == word or name.endswith(f"_{word}") for word in _SECRET_WORDS)


# Greedy up to the last @ before the path, since a password that was not encoded may hold one itself.
_USER_IN_URL = re.compile(r"(://)[^\s/?#]+@")
_ENTRY_IN_URL = re.compile(r"([?&]([\w.-]+)=)[^\s&#]+")


def without_passwords(text: str) -> str:
    """``text`` with what stands before the ``@`` of a URL masked, and the values of its secret query entries.

    Example:
        >>> without_passwords("http://me:sesame@host:5000/path?token=abc&n=1")
        'http://********@host:5000/path?token=********&n=1'
    """
    if "://" not in text:
        return text
    text = _USER_IN_URL.sub(rf"\1{MASK}@", text)
    return _ENTRY_IN_URL.sub(lambda found: found[1] + MASK if is_secret(found[2]) else found[0], text)


def masked(value: Any) -> Any:
    """``value`` as it is, but for the secrets in its texts, lists, tuples and mappings.

    Example:
        >>> masked(({"password": "sesame", "user": "me"}, "http://me:sesame@host"))
        ({'password': '********', 'user': 'me'}, 'http://********@host')
    """
    if type(value) is str:
        return without_passwords(value)
    if type(value) in (list, tuple):
        return type(value)(masked(entry) for entry in value)
    if isinstance(value, Mapping):
        return {key: MASK if is_secret(key) and entry is not None else masked(entry) for key, entry in value.items()}
    return value


def plain(value: Any) -> Any:
    """``value`` as JSON can hold it: scalars of NumPy and torch as Python's, secrets masked, the rest as ``repr``.

    Secrets are the values of keys that name one (``is_secret``) and the passwords in URLs.

    Example:
        >>> plain({"lr": 0.1, "api_key": "abc", "layers": (1, 2)})
        {'lr': 0.1, 'api_key': '********', 'layers': [1, 2]}
    """
    kind = type(value)
    if kind is float or kind is int or kind is bool or value is None:
        return value
    if kind is str:
        return without_passwords(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {
            key if isinstance(key, str) else str(key): MASK if is_secret(key) and entry is not None else plain(entry)
            for key, entry in value.items()
        }
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(entry) for entry in value]
    if isinstance(value, type):  # numpy.float32 has the methods of its values
        return repr(value)
    item = getattr(value, "item", None)
    if item is not None and getattr(value, "size", None) == 1:
        return plain(item())
    if callable(item) and callable(getattr(value, "numel", None)) and value.numel() == 1:
        return plain(item())
    if isinstance(value, str) and "://" in value:
        return without_passwords(str.__str__(value))
    if isinstance(value, (int, float, str)):
        return kind.__mro__[-2](value) if kind.__mro__[-2] in (int, float, str) else value
    tolist = getattr(value, "tolist", None)
    if callable(tolist):
        return plain(tolist())
    return without_passwords(repr(value))
