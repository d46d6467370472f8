"""Creation options: from typed values to the words of a command line."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from qemu_blocksdk.errors import UsageError
from qemu_blocksdk.tools.creation import (
    CreateLuks,
    CreateQcow,
    CreateQcow2,
    CreateQed,
    CreateRaw,
    CreateVmdk,
    CreationOptions,
    EncryptAes,
    EncryptLuks,
    ImageFormat,
    creation_words,
    options_of,
)


@pytest.mark.parametrize("format", get_args(ImageFormat))
def test_a_formats_name_means_its_defaults_of_which_nothing_is_said(format: ImageFormat) -> None:
    options = options_of(format)
    assert options.format == format
    key = "key" if format == "luks" else None
    expected = ["-o", "key-secret=key"] if format == "luks" else []
    assert creation_words(options, key_secret=key) == expected


def test_every_format_has_its_class_and_every_class_its_format() -> None:
    formats = [cls.format for cls in get_args(CreationOptions)]
    assert sorted(formats) == sorted(get_args(ImageFormat))


def test_options_are_their_own_options() -> None:
    options = CreateRaw(preallocation="full")
    assert options_of(options) is options


@pytest.mark.parametrize("format", ["qcow3", "", None, ["raw"], CreateRaw, "-f"])
def test_an_unknown_format_is_refused(format: object) -> None:
    with pytest.raises(UsageError, match=r"qemu-img creates no .*, but qcow2, raw,"):
        options_of(format)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose


def test_what_is_set_is_said_in_qemus_words_and_in_the_order_of_the_class() -> None:
    options = CreateQcow2(
        lazy_refcounts=True,
        extended_l2=False,
        refcount_bits=1,
        cluster_size="128K",
        compat="v3",
        compression_type="zstd",
    )
    assert creation_words(options) == [
        *("-o", "compat=v3"),
        *("-o", "cluster_size=131072"),
        *("-o", "extended_l2=off"),
        *("-o", "refcount_bits=1"),
        *("-o", "lazy_refcounts=on"),
        *("-o", "compression_type=zstd"),
    ]


def test_the_empty_values_are_said_too() -> None:
    options = CreateVmdk(hwversion="", extent_size_hint=0)
    assert creation_words(options) == ["-o", "hwversion=", "-o", "extent_size_hint=0"]


def test_encryption_is_said_with_its_format_and_the_id_of_the_secret() -> None:
    luks = EncryptLuks(cipher_alg="aes-256", hash_alg="sha512", iter_time=0.25)
    assert creation_words(CreateQcow2(encrypt=luks), key_secret="key") == [
        *("-o", "encrypt.cipher-alg=aes-256"),
        *("-o", "encrypt.hash-alg=sha512"),
        *("-o", "encrypt.iter-time=250"),
        *("-o", "encrypt.format=luks"),
        *("-o", "encrypt.key-secret=key"),
    ]
    assert creation_words(CreateQcow(encrypt=EncryptAes()), key_secret="key") == [
        *("-o", "encrypt.format=aes"),
        *("-o", "encrypt.key-secret=key"),
    ]


def test_luks_has_its_options_without_prefix() -> None:
    options = CreateLuks(ivgen_hash_alg="sha256", iter_time=2, extent_size_hint="1M")
    assert creation_words(options, key_secret="key") == [
        *("-o", "ivgen-hash-alg=sha256"),
        *("-o", "iter-time=2000"),
        *("-o", "extent_size_hint=1048576"),
        *("-o", "key-secret=key"),
    ]


@pytest.mark.parametrize(
    "options",
    [CreateLuks(), CreateQcow2(encrypt=EncryptAes()), CreateQcow(encrypt=EncryptAes())],
    ids=lambda options: type(options).__name__,
)
def test_encryption_without_a_secret_is_refused(options: CreationOptions) -> None:
    with pytest.raises(UsageError, match="needs a secret"):
        creation_words(options)


@pytest.mark.parametrize("options", [CreateRaw(), CreateQcow2()])
def test_a_secret_without_encryption_is_refused(options: CreationOptions) -> None:
    with pytest.raises(UsageError, match="is not encrypted"):
        creation_words(options, key_secret="key")


@pytest.mark.parametrize("name", ["plain", "a,b=c", "nbd:x", "-o", "new\nline", "q,help", "x,"])
def test_a_data_file_is_an_absolute_path_with_its_commas_doubled(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    word = f"data_file={tmp_path / name}".replace(",", ",,")
    assert creation_words(CreateQcow2(data_file=name)) == ["-o", word]
    assert creation_words(CreateQcow2(data_file=Path(name))) == ["-o", word]


def test_a_data_files_name_need_not_be_utf_8() -> None:
    _, word = creation_words(CreateQcow2(data_file=b"/a/\xff"))
    assert os.fsencode(word) == b"data_file=/a/\xff"


@pytest.mark.parametrize(
    ("cls", "option", "value"),
    [
        (CreateQcow2, "cluster_size", True),
        (CreateQcow2, "cluster_size", 65536.0),
        (CreateQcow2, "cluster_size", "10Q"),
        (CreateRaw, "extent_size_hint", -1),
        (CreateQcow2, "refcount_bits", True),
        (CreateQcow2, "refcount_bits", 1.0),
        (CreateQcow2, "refcount_bits", 3),
        (CreateQcow2, "compat", "v4"),
        (CreateQcow2, "compat", ["v3"]),
        (CreateRaw, "preallocation", "metadata"),
        (CreateQcow2, "lazy_refcounts", "on"),
        (CreateQcow2, "lazy_refcounts", 1),
        (CreateQcow2, "data_file", 3),
        (CreateQcow2, "data_file", str),
        (CreateQcow2, "data_file", ""),
        (CreateQcow2, "data_file", "a\0b"),
        (CreateVmdk, "hwversion", "a\0b"),
        (CreateVmdk, "hwversion", 7),
        (CreateQcow2, "encrypt", "luks"),
        (CreateQcow, "encrypt", EncryptLuks()),
        (CreateLuks, "iter_time", float("inf")),
        (CreateLuks, "iter_time", float("nan")),
        (CreateLuks, "iter_time", -1),
        (CreateLuks, "iter_time", True),
        (CreateQed, "table_size", -1),
        (CreateQed, "table_size", True),
        (CreateQed, "table_size", "2"),
    ],
)
def test_a_wrong_value_is_refused_by_the_name_of_its_option(
    cls: Callable[..., CreationOptions], option: str, value: object
) -> None:
    options = cls(**{option: value})
    with pytest.raises(UsageError, match=rf"^{type(options).__name__}\.{option}: "):
        creation_words(options, key_secret="key")
