"""One line of a journal: how a record is written, and what is accepted when it is read.

A record is the JSON object that Optuna's ``JournalFileBackend`` writes, with one more entry at its end, ``crc``: the
CRC-32 of everything before it, as eight hexadecimal digits. Optuna ignores entries that it does not know, so both
read both. What that lets a reader find out:

* a line of ours with any changed byte is found, also where the line is still valid JSON;
* a line without ``crc`` (written by Optuna) is refused when it is not JSON, or has an operation, an entry or a kind of
  value that no journal has. A change inside a number or a text of such a line cannot be seen.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

from optuna.storages.journal._storage import JournalOperation

__all__ = ["NotARecord", "Unreadable", "decode_line", "encode_line", "is_plain", "looks_like_journal"]


class Unreadable(ValueError):
    """A line that is damaged or was not written to its end."""


class NotARecord(ValueError):
    """A line that is whole, and is no record of a journal."""


_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode
_CRC_KEY = b',"crc":"'
_CRC_START = -(len(_CRC_KEY) + 8 + len(b'"}'))
_FIRST_BYTES = b'{"op_code":'


def encode_line(record: Mapping[str, Any]) -> bytes:
    """The line of a record, newline included.

    Raises:
        TypeError: a value has no form in JSON.
    """
    body = _encode(record)[:-1].encode()
    return b'%b,"crc":"%08x"}\n' % (body, crc32(body))


def decode_line(line: bytes) -> dict[str, Any]:
    """The record of a line (without its newline), ``crc`` checked and taken away.

    Raises:
        Unreadable: the line is damaged, which includes one that was cut.
        NotARecord: the line is JSON but no record of a journal.
    """
    has_crc = line[_CRC_START : _CRC_START + len(_CRC_KEY)] == _CRC_KEY and line.endswith(b'"}')
    if has_crc and line[-10:-2] != b"%08x" % crc32(line[:_CRC_START]):
        raise Unreadable("its content does not match its checksum")
    try:
        record = _decode(line.decode())
    except ValueError as error:
        raise Unreadable(f"not JSON ({error})") from None
    if has_crc:
        del record["crc"]
    else:
        _check(record)
    return record  # type: ignore[no-any-return]


def looks_like_journal(start: bytes) -> bool:
    """Whether a file that starts with these bytes may be a journal, possibly one that was cut in its first record."""
    return _FIRST_BYTES.startswith(start[: len(_FIRST_BYTES)]) or not start.strip(b"\0")


_PLAIN_TYPES = frozenset({int, float, str, type(None), JournalOperation})


def is_plain(record: Mapping[str, Any]) -> bool:
    """Whether a record to be written is already what a reader of its line gets: nothing nested, no type of NumPy.

    The operation is a member of an ``IntEnum`` there, and equal to its number.
    """
    return _PLAIN_TYPES.issuperset(map(type, record.values()))


def _is_int(value: object) -> bool:
    return type(value) is int and value >= 0


def _is_number(value: object) -> bool:
    return type(value) is float or type(value) is int


def _is_text(value: object) -> bool:
    return type(value) is str


def _is_time(value: object) -> bool:
    return value is None or type(value) is str


def _is_state(value: object) -> bool:
    return type(value) is int and 0 <= value <= 4


def _is_dict(value: object) -> bool:
    return type(value) is dict


def _is_entry(value: object) -> bool:
    return type(value) is dict and len(value) == 1


def _is_numbers(value: object) -> bool:
    return value is None or (type(value) is list and all(map(_is_number, value)))


def _is_directions(value: object) -> bool:
    return type(value) is list and all(type(d) is int and 0 <= d <= 2 for d in value)


_CHECKS: dict[str, Callable[[object], bool]] = {
    "study_id": _is_int,
    "study_name": _is_text,
    "directions": _is_directions,
    "trial_id": _is_int,
    "param_name": _is_text,
    "param_value_internal": _is_number,
    "distribution": _is_text,
    "state": _is_state,
    "value": lambda value: value is None or _is_number(value),
    "values": _is_numbers,
    "step": lambda value: type(value) is int,
    "intermediate_value": _is_number,
    "intermediate_values": _is_dict,
    "user_attr": _is_entry,
    "system_attr": _is_entry,
    "user_attrs": _is_dict,
    "system_attrs": _is_dict,
    "params": _is_dict,
    "distributions": _is_dict,
    "datetime_start": _is_time,
    "datetime_complete": _is_time,
}

_TEMPLATE = "state value values distributions params user_attrs system_attrs intermediate_values datetime_complete"
# By operation: the entries that are there, and those that may be.
_ENTRIES: list[tuple[frozenset[str], frozenset[str]]] = [
    (frozenset(required.split()), frozenset(f"op_code worker_id {required} {optional}".split()))
    for required, optional in (
        ("study_name directions", ""),
        ("study_id", ""),
        ("study_id user_attr", ""),
        ("study_id system_attr", ""),
        ("study_id datetime_start", _TEMPLATE),
        ("trial_id param_name param_value_internal distribution", ""),
        ("trial_id state values", "datetime_start datetime_complete"),
        ("trial_id step intermediate_value", ""),
        ("trial_id user_attr", ""),
        ("trial_id system_attr", ""),
    )
]
_DISCARD_TRIALS = 10  # written by Rustuna only; Optuna skips it whatever it holds


def _check(record: object) -> None:
    if type(record) is not dict:
        raise NotARecord(f"a record must be a JSON object, this is {type(record).__name__}")
    op_code = record.get("op_code")
    if type(op_code) is not int or not 0 <= op_code <= _DISCARD_TRIALS:
        raise NotARecord(f"unknown operation op_code={op_code!r}; known are 0 to {_DISCARD_TRIALS}")
    if not _is_text(record.get("worker_id")):
        raise NotARecord("worker_id is missing or no text")
    if op_code == _DISCARD_TRIALS:
        return
    required, allowed = _ENTRIES[op_code]
    entries = record.keys()
    if not required <= entries:
        raise NotARecord(f"operation {op_code} lacks {', '.join(sorted(required - entries))}")
    if not entries <= allowed:
        raise NotARecord(f"operation {op_code} has unknown entries {', '.join(map(repr, sorted(entries - allowed)))}")
    for name in entries:
        check = _CHECKS.get(name)
        if check is not None and not check(record[name]):
            raise NotARecord(f"{name}={record[name]!r} is not possible here")
