"""The socket through which a trial's program reports: on loopback only, and only for who knows the secret."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import secrets
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, answer_challenge, deliver_challenge
from typing import Any, NamedTuple

from tuneflow.trainable.wire import LONGEST_MESSAGE

__all__ = ["Peer", "Relay", "Request"]

_HANDSHAKE_S = 10
_MOST_STRANGERS = 64


class Peer:
    """A process of the program. One thread reads from it; answers come from another.

    Attributes:
        job: what tells the processes of one distributed job from those of another, "" for none.
        begun: whether it reports, rather than follow.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.job = ""
        self.begun = False

    def answer(self, value: Any) -> None:
        """Answers its question; one that is gone does not mind."""
        with contextlib.suppress(OSError):
            self._connection.send_bytes(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


class Request(NamedTuple):
    """What a process says. ``kind`` is "gone" when it has said its last."""

    peer: Peer
    kind: str
    fields: dict[str, Any]


class Relay:
    """Listens for the processes of one program.

    Args:
        on_request: called from other threads, in order for each process.

    Attributes:
        address: "127.0.0.1:PORT".
        secret: what a process must know to be heard.

    Example:
        >>> import queue
        >>> from multiprocessing.connection import Client
        >>> inbox = queue.Queue()
        >>> relay = Relay(inbox.put)
        >>> host, port = relay.address.split(":")
        >>> with Client((host, int(port)), authkey=relay.secret.encode()) as client:
        ...     client.send_bytes(b'{"kind": "hello"}')
        ...     inbox.get().kind
        'hello'
        >>> relay.close()
    """

    def __init__(self, on_request: Callable[[Request], None]) -> None:
        self.secret = secrets.token_hex(32)
        self._on_request = on_request
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = "{}:{}".format(*self._socket.getsockname())
        self._wake, self._wakes = os.pipe()
        self._known = 0
        self._strangers = 0
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._accept, daemon=True, name="tuneflow-relay")
        self._thread.start()

    def drain(self, timeout_s: float) -> None:
        """Waits until all processes are gone and what they said was handed over."""
        with self._changed:
            self._changed.wait_for(lambda: self._known == 0, timeout_s)

    def close(self) -> None:
        """Listens no more."""
        os.write(self._wakes, b"x")
        self._thread.join()
        self._socket.close()
        os.close(self._wake)
        os.close(self._wakes)

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._socket, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            while True:
                ready = [key.fd for key, _ in selector.select()]
                if self._wake in ready:
                    return
                try:
                    accepted, _ = self._socket.accept()
                except OSError:
                    continue  # gone before it was let in
                with self._changed:
                    is_crowd = self._strangers >= _MOST_STRANGERS
                    self._strangers += not is_crowd
                if is_crowd:
                    accepted.close()
                else:
                    threading.Thread(target=self._serve, args=(accepted,), daemon=True, name="tuneflow-peer").start()

    def _serve(self, accepted: socket.socket) -> None:
        _limit(accepted, _HANDSHAKE_S)  # who connects and says nothing is not waited for
        connection = Connection(accepted.detach())
        with connection:
            try:
                is_known = self._knows_secret(connection)
            finally:
                with self._changed:
                    self._strangers -= 1
            if is_known:
                peer = Peer(connection)
                try:
                    self._hear(connection, peer)
                finally:
                    self._on_request(Request(peer, "gone", {}))
                    with self._changed:
                        self._known -= 1
                        self._changed.notify_all()

    def _knows_secret(self, connection: Connection) -> bool:
        try:
            deliver_challenge(connection, self.secret.encode())
            answer_challenge(connection, self.secret.encode())
        except (OSError, EOFError, AuthenticationError):
            return False
        with self._changed:
            self._known += 1
        with socket.socket(fileno=os.dup(connection.fileno())) as same:
            _limit(same, 0)
        return True

    def _hear(self, connection: Connection, peer: Peer) -> None:
        while True:
            try:
                fields = json.loads(connection.recv_bytes(LONGEST_MESSAGE))
                self._on_request(Request(peer, str(fields["kind"]), fields))
            except (OSError, EOFError, ValueError, KeyError, TypeError):
                return  # gone, or not one of ours


def _limit(given: socket.socket, seconds: int) -> None:
    """Has reads and writes give up after so many seconds; never with 0."""
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        given.setsockopt(socket.SOL_SOCKET, option, struct.pack("ll", seconds, 0))
