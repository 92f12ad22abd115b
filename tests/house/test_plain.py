"""Values as files may hold them: plain, and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneflow.plain import MASK, plain, without_passwords


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("http://me:sesame@host:5000", f"http://{MASK}@host:5000"),
        ("postgresql+psycopg2://me:se@same@host/db", f"postgresql+psycopg2://{MASK}@host/db"),
        ("https://sesame@host/a@b", f"https://{MASK}@host/a@b"),
        ("https://host/x?api_key=sesame&n=1", f"https://host/x?api_key={MASK}&n=1"),
        ("see http://me:sesame@host and http://you:sesame@other", f"see http://{MASK}@host and http://{MASK}@other"),
        ("http://host/me@example.org", "http://host/me@example.org"),
        ("sqlite:///folder/mlflow.db", "sqlite:///folder/mlflow.db"),
        ("me@example.org", "me@example.org"),
    ],
)
def test_passwords_in_urls(given, safe):
    assert without_passwords(given) == safe
    assert plain({"a": [given]}) == {"a": [safe]}


def test_the_form_of_a_value_hides_no_url():
    class Server:
        def __repr__(self):
            return "Server('http://me:sesame@host')"

    assert "sesame" not in plain(Server())
    assert plain(Path("a/b")) == repr(Path("a/b"))
