"""Values as files may hold them: plain, and without secrets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tuneflow.plain import MASK, is_secret, plain, without_passwords


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


@pytest.mark.parametrize(
    "key",
    [
        "aws_secret_access_key", "secret_access_key", "access_key", "secret_key", "authorization", "Authorization",
        "proxy-authorization", "credentials", "db_credentials", "auth_token", "passphrase", "ssh_passphrase", "api_key",
        "token", "PASSWORD", "client_secret", "credential", "private-key",
    ],
)  # fmt: skip
def test_names_of_secrets(key):
    assert is_secret(key)
    assert plain({key: "sesame"}) == {key: MASK}


@pytest.mark.parametrize(
    "key",
    [
        "key", "keys", "author", "authors", "n_tokens", "token_embedding", "max_tokens", "max_token", "tokens",
        "tokenizer", "credential_path", "credentials_file", "passes", "access", "secretary", "n_key",
        "query_key", "authorization_model",
    ],
)  # fmt: skip
def test_names_that_only_look_like_secrets(key):
    assert not is_secret(key)
    assert plain({key: "open"}) == {key: "open"}


def test_a_text_of_another_class_hides_no_url():
    class Text(str):
        __slots__ = ()

    assert plain(Text("http://me:sesame@host")) == f"http://{MASK}@host"
    assert plain(Text("as it is")) == "as it is"
