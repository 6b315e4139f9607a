"""Which addresses a tenant may name. Pure: a decision about strings; nothing is looked up or opened."""

from __future__ import annotations

import re
from collections.abc import Iterable

from shared.webaddress import SCHEME as HTTPS
from shared.webaddress import Network, forbidden, read

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_SCHEME = "s3://"
NOT_ALLOWED = "is not under an s3:// prefix allowed to this tenant"
NOT_PUBLIC = "must not name a private, local or reserved network"


def input_refusal(uri: str, prefixes: Iterable[str], networks: Iterable[Network] = ()) -> str | None:
    """Say why a tenant's job may not read from this address, or None where it may.

    A name is not looked up: what it stands for counts at the moment when a worker connects.

    Args:
        uri: The address as the caller wrote it.
        prefixes: ``s3://bucket/prefix/`` addresses allowed to the tenant.
        networks: Which the operator allows though they are not public.
    """
    if uri.startswith(_SCHEME):
        return refusal(uri, prefixes)
    if not uri.startswith(HTTPS):
        return "must be an s3://bucket/key or https:// address"
    return _web_refusal(uri, networks)


def refusal(uri: str, prefixes: Iterable[str]) -> str | None:
    """Say why a tenant may not name this object, or None where it may.

    The same words for another tenant's object, Leveret's own bucket and what does not exist: the answer must
    not tell them apart.

    Args:
        uri: The address as the caller wrote it.
        prefixes: ``s3://bucket/prefix/`` addresses allowed to the tenant.
    """
    if not uri.startswith(_SCHEME):
        return "must be an s3://bucket/key address"
    bucket, _, key = uri.removeprefix(_SCHEME).partition("/")
    if not _BUCKET.fullmatch(bucket) or not _plain(key):
        return "must be an s3://bucket/key address, without empty, `.` or `..` parts"
    return None if any(_under(bucket, key, prefix) for prefix in prefixes) else NOT_ALLOWED


def names_bucket(uri: str, bucket: str) -> bool:
    """Whether the address lies in this bucket."""
    return uri.startswith(_SCHEME) and uri.removeprefix(_SCHEME).partition("/")[0] == bucket


def _web_refusal(uri: str, networks: Iterable[Network]) -> str | None:
    try:
        address = read(uri).literal
    except ValueError as error:
        return str(error)
    return NOT_PUBLIC if address is not None and forbidden(address, networks) else None


def _plain(key: str) -> bool:
    """Some stores resolve `..` like a file system would, so such keys are refused, not interpreted."""
    parts = key.split("/")
    return all(part not in {"", ".", ".."} for part in parts) and key.isprintable() and "\\" not in key


def _under(bucket: str, key: str, prefix: str) -> bool:
    allowed, _, start = prefix.removeprefix(_SCHEME).partition("/")
    start = f"{start.rstrip('/')}/" if start.strip("/") else ""
    # `data` allows data/1.jpg and never database/1.jpg.
    return prefix.startswith(_SCHEME) and bucket == allowed and key.startswith(start)
