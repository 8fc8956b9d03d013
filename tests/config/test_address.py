from __future__ import annotations

from pathlib import Path

import pytest

from ast_ray.config.address import address_problem, local_path, parse_address, redacted, scrubbed, secret_problem
from ast_ray.errors import ConfigError

SECRETS = [
    "s3://AKIA:hunter2@bucket/run",
    "s3://AKIA:hunter2/and/more@bucket/run",  # the secrets of S3 hold slashes
    "s3://AKIA:hunter2?x@bucket/run",
    "s3://AKIA:hun@ter2@bucket/run",
    "s3://hunter2@bucket/run",
    "s3:/AKIA:hunter2@bucket/run",
    "gs://bucket/run?password=hunter2",
    "gs://bucket/run?hunter2",
    "s3://bucket/run?endpoint_override=user:hunter2@host",
    "http://user:hunter2@host:8265",
    "ray://user:hunter2@host:10001",
]
HARMLESS = [
    "s3://bucket/run?endpoint_override=host:9000&scheme=http",
    "s3://bucket/mail@home/run",
    "http://127.0.0.1:8265",
    "runs/a:b@c",
    "C:\\images",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_found_and_shown_nowhere(text: str) -> None:
    problem = secret_problem(text, "out")
    assert problem is not None
    for shown in (str(problem), redacted(text), scrubbed(f"no such file: '{text}', sorry"), scrubbed(text)):
        assert "hunter2" not in shown
        assert "ter2" not in shown
    assert scrubbed(f"before {text} behind").startswith("before ")
    assert scrubbed(f"before {text} behind").endswith(" behind")
    if text.startswith(("s3:", "gs:")):
        with pytest.raises(ConfigError) as refused:
            parse_address(text)
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize("text", HARMLESS)
def test_other_addresses_and_paths_are_left_alone(text: str) -> None:
    assert secret_problem(text, "out") is None
    assert scrubbed(f"'{text}'") == f"'{text}'"


@pytest.mark.parametrize("text", ["runs/digits", "/tmp/x:y", "s3://bucket/runs", "gs://bucket"])
def test_places_that_can_be_have_no_problem(text: str) -> None:
    assert address_problem(text, "out") is None


@pytest.mark.parametrize("text", ["s3:/bucket/x", "https://host/x", "s3://user:pa55word@bucket/x"])
def test_the_problem_of_an_address_is_what_parsing_it_says(text: str) -> None:
    problem = address_problem(text, "out")
    with pytest.raises(ConfigError) as caught:
        parse_address(text, "out")
    assert [problem] == list(caught.value.problems)


def test_a_path_is_made_absolute_and_an_address_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert local_path("sets/x", "to") == tmp_path / "sets" / "x"
    assert local_path("~/x", "to") == tmp_path / "home" / "x"
    for text in ("s3://bucket/x", "gs://bucket/x", "s3:/bucket/x", "file:///x", "http://host/x"):
        with pytest.raises(ConfigError, match=r"to = .*: a path of this machine, not an address"):
            local_path(text, "to")
    for text in ("~nosuchuser/x", "a\0b"):
        with pytest.raises(ConfigError, match="cannot be a path"):
            local_path(text, "to")
