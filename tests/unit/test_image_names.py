"""Names of images: taken apart, put together, refused."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import assume, given
from hypothesis import settings as trials
from hypothesis import strategies as st

from millrace import DockerImage, docker, settings
from millrace.deployments.image_names import in_namespace, split_host, split_tag, tag_of_now
from millrace.errors import InvalidInput, NotSupported

COMPONENT = st.from_regex(r"[a-z0-9]{1,6}(?:(?:\.|_|__|-{1,2})[a-z0-9]{1,6}){0,2}", fullmatch=True)
PATH = st.lists(COMPONENT, min_size=1, max_size=4).map("/".join)
HOST = st.one_of(
    st.just("localhost"),
    st.from_regex(r"[a-z0-9]{1,8}\.[a-z]{2,5}(?::[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"[a-z][a-z0-9]{0,8}:[0-9]{1,5}", fullmatch=True),
    st.just("[::1]:5000"),
)
TAG = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}", fullmatch=True)


@trials(deadline=None)
@given(host=st.none() | HOST, path=PATH, tag=st.none() | TAG)
def test_a_name_is_put_together_from_what_it_was_taken_apart_into(host: str | None, path: str, tag: str | None) -> None:
    first, slash, _ = path.partition("/")
    assume(host is not None or not slash or ("." not in first and first != "localhost"))  # else it reads as a host
    repository = f"{host}/{path}" if host else path
    assert split_tag(repository if tag is None else f"{repository}:{tag}") == (repository, tag)
    assert split_host(repository) == (host, path)


@trials(deadline=None)
@given(host=HOST, path=PATH, tag=TAG)
def test_the_reference_of_an_image_is_its_name_and_tag(host: str, path: str, tag: str) -> None:
    image = DockerImage(f"{host}/{path}", tag)
    assert (image.name, image.tag, image.reference) == (f"{host}/{path}", tag, f"{host}/{path}:{tag}")
    assert str(DockerImage(image.reference)) == image.reference
    with pytest.raises(InvalidInput, match="Only one tag"):
        DockerImage(image.reference, tag="another")


@trials(deadline=None)
@given(text=st.text(min_size=0, max_size=40))
def test_any_text_is_a_valid_name_or_refused(text: str) -> None:
    try:
        repository, tag = split_tag(text)
    except InvalidInput:
        return
    assert f"{repository}:{tag}" == text if tag else repository == text
    assert re.fullmatch(r"[A-Za-z0-9._/:\[\]-]+", repository)


TEAM = PATH.filter(lambda path: "." not in path.partition("/")[0])


@trials(deadline=None)
@given(namespace=st.one_of(TEAM, HOST, st.tuples(HOST, PATH).map("/".join)), name=PATH)
def test_a_namespace_is_for_names_without_one(namespace: str, name: str) -> None:
    expected = name if "/" in name else f"{namespace}/{name}"
    assert in_namespace(name, namespace) == expected
    assert in_namespace(name, None) == name


def test_the_setting_gives_the_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MILLRACE_DEFAULT_DOCKER_BUILD_NAMESPACE", "registry.example.org/team")
    settings.current.cache_clear()
    try:
        assert DockerImage("flows:v1").reference == "registry.example.org/team/flows:v1"
        assert DockerImage("mine/flows:v1").reference == "mine/flows:v1"
    finally:
        settings.current.cache_clear()


def test_without_a_tag_it_is_the_time() -> None:
    assert tag_of_now(datetime(2026, 5, 1, 2, 3, 4, 50, tzinfo=UTC)) == "2026-05-01t02-03-04-000050-00-00"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dt\d\d-\d\d-\d\d-\d{6}-00-00", DockerImage("flows").tag)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("flows@sha256:" + "a" * 64, "by its digest"),
        ("Flows", "lower case"),
        ("", "is no part"),
        ("a//b", "is no part"),
        ("https://example.org/flows", "cannot be"),
        ("flows:bad tag", "'bad tag' in"),
        ("flows:" + "x" * 129, "at most 128"),
        ("-.example.org/flows", "is no host"),
        ("a/" * 130 + "b", "at most 255"),
    ],
)
def test_what_no_image_can_be_called_is_refused(name: str, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        DockerImage(name)


def test_arguments_that_are_ours_are_refused() -> None:
    with pytest.raises(InvalidInput, match="'fileobj'"):
        DockerImage("flows", fileobj=b"")
    with pytest.raises(NotSupported, match="buildx"):
        DockerImage("flows", build_backend="buildx")
    with pytest.raises(InvalidInput, match="'V' must be a text; got 1: write '1'"):
        DockerImage("flows", buildargs={"V": 1})
    assert docker.DockerImage is DockerImage
