"""Secrets in addresses: refused before the host, never shown in the query."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instructrestore.shards.addresses import check_address, has_secret, masked
from instructrestore.shards.index import Dataset
from instructrestore.shards.paths import parse_place
from instructrestore.shards.plain_text import html_text, visible_line

REFUSED = [
    "http://user:hunter2@host/photos",
    "https://hunter2@host/photos",
    "HTTPS://user:hunter2@host:8443",
    "http://user:hunt@hunter2@host/a",
    "http://user:in/hunter2@127.0.0.1:80/a.png",
    "coco:https://user:hunter2@host/a.json?images=https://host/i",
    "zip://inner::https://user:hunter2@host/a.zip",
    "s3://AKIA:hunter2@bucket/run",
    "ftp://user:hunter2@host/a",
    "sftp://user:hunter2@host/a",
]
KEPT = [
    "photos/a:b@c.jpg",
    "/data/http:/user:pw@host",
    "file:///data/a:b@c",
    "https://host/a@b:c/d.jpg",
    "https://host:8443/a@2x.jpg",
    "http://[::1]:80/a@2x.jpg",
    "https://host/a.jpg?mail=a:b@c",
    "sftp://user@host/a",
    "s3://bucket/a:b@c",
    "abfs://container@account.dfs.core.windows.net/a",
    "github://owner:repository@commit/a",
    "zip://a::memory://b@c",
]
SIGNED = [
    "https://bucket.s3.amazonaws.com/a.jpg?X-Amz-Algorithm=AWS4&X-Amz-Credential=hunter2&X-Amz-Signature=hunter2",
    "https://storage.googleapis.com/b/a.jpg?X-Goog-Signature=hunter2",
    "https://account.blob.core.windows.net/c/a.jpg?sv=2022&sig=hunter2%3D&se=2030",
    "https://cdn/a.jpg?Expires=1&Signature=hunter2~&Key-Pair-Id=K",
    "https://host/a?token=hunter2#access_token=hunter2",
    "https://host/a?api_key=hunter2;password=hunter2",
    "zip://a::https://host/a.zip?key=hunter2",
]


@pytest.mark.parametrize("address", REFUSED)
def test_a_password_in_an_address_is_refused_and_not_repeated(address: str) -> None:
    with pytest.raises(ValueError, match=r"an address with a name or password in it .*FSSPEC_") as caught:
        check_address(address)
    assert "hunter2" not in str(caught.value) and "\n" not in str(caught.value)
    assert has_secret(address) and "hunter2" not in masked(address)


@pytest.mark.parametrize("address", KEPT)
def test_all_other_addresses_are_as_they_were(address: str) -> None:
    check_address(address)
    assert masked(address) == address


@pytest.mark.parametrize("address", SIGNED)
def test_a_signature_is_allowed_and_never_shown(address: str) -> None:
    check_address(address)
    text = f'path = "{address}" # <{address}>, not found'
    assert has_secret(address)
    for shown in (masked(text), visible_line(text), html_text(text)):
        assert "hunter2" not in shown and "***" in shown and "not found" in shown
    assert masked(masked(text)) == masked(text)


@given(st.text(alphabet="ab:/@?&=.# \n'", max_size=60))
def test_masking_is_done_once_and_leaves_other_text_alone(text: str) -> None:
    assert masked(masked(text)) == masked(text)
    if "://" not in text:
        assert masked(text) == text


@pytest.mark.parametrize(
    "long", ["a" * 300_000, "://" * 100_000, "http://" + "a:" * 150_000, "http://a?" + "&sig" * 90_000]
)
def test_long_text_is_masked_at_once(long: str) -> None:
    assert masked(long)


def test_places_and_data_sets_are_checked_before_they_are_reached(tmp_path: Path) -> None:
    for place in ("s3://KEY:hunter2@bucket/run", "http://user:hunter2@127.0.0.1:1/set"):
        for opened in (parse_place, Dataset):
            with pytest.raises(ValueError, match="an address with a name or password in it"):
                opened(place)
