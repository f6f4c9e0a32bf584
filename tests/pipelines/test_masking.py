"""Secrets of addresses and of the environment are not shown, and nothing else is touched."""

import pytest

from pipelines.masking import masked


@pytest.mark.parametrize(("text", "shown"), [
    ("MLflow at http://user:SECRET@host:5000/a@b: away", "MLflow at http://***@host:5000/a@b: away"),
    ("postgresql+asyncpg://hae:SE@CRET@db/prefect", "postgresql+asyncpg://***@db/prefect"),
    ("https://token-alone@host", "https://***@host"),
    ("http://host/?token=SECRET&x=1", "http://host/?token=***&x=1"),
    ("mail to a@b.c, see http://host/a", "mail to a@b.c, see http://host/a"),
    ("http://user:SEC/RET@host/a", "http://***@host/a"),
    ('{"url":"http://host:5000","to":"a@b"}', '{"url":"http://host:5000","to":"a@b"}'),
    ("s3://b/a?X-Amz-Signature=SECRET", "s3://b/a?X-Amz-Signature=***"),
    ("host=db password=SECRET user=hae", "host=db password=*** user=hae"),
])
def test_addresses_are_shown_without_their_secrets(text, shown):
    assert masked(text) == shown


def test_secrets_of_the_environment_are_not_shown(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:one%2Ftwo@host")
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "hae:three-and-four")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")
    monkeypatch.setenv("PREFECT_API_URL", "http://user:five/six@host")
    monkeypatch.setenv("HTTP_PROXY", "user:seven-eight@host:3128")
    assert masked("one%2Ftwo, one/two, hae:three-and-four, three-and-four, user") == "***, ***, ***, ***, user"
    assert masked("five/six, user:seven-eight") == "***, user:***"


def test_an_at_in_a_path_is_no_secret(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////home/me@lab/project/.hae/mlflow.db")
    monkeypatch.setenv("PREFECT_API_URL", "http://host:4200/api@home")
    line = "MLflow at sqlite:////home/me@lab/project/.hae/mlflow.db, Prefect at http://host:4200/api@home"
    assert masked(line) == line
