"""Object stores: opened by a URL, and what their errors ask for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

try:
    import obstore
    from obstore.store import AzureStore, GCSStore, LocalStore, MemoryStore, S3Store, from_url
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"{error.name} is missing, which object stores need: pip install 'export-engine[cloud]'", name=error.name
    ) from None

from export_engine.errors import OptionError

#: obstore too: whoever takes it from here gets the advice where it is missing.
__all__ = ["Cloud", "Store", "bucket_fault", "first_line", "obstore", "open_store"]

#: The stores that can be opened by a URL; a cloud's can also sign links to what is in them.
Cloud = S3Store | GCSStore | AzureStore
Store = Cloud | LocalStore | MemoryStore

#: Variables of the environment that hold credentials, by the first letters of the scheme; all others are Azure's.
_CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
}


def open_store(url: str, **config: Any) -> Store:
    """Open the store at `url`.

    `url` is a directory's path or `file://` URL (it is made if missing), `memory://`, `s3://bucket/prefix`,
    `gs://bucket/prefix` or `az://container/prefix` (its account comes from `config` or the environment); the
    prefix may be missing.

    `config` goes to obstore's store of a cloud, such as `region`, `endpoint` or `client_options`; what it does not say
    is taken from the cloud's usual environment variables. Nothing is asked of the store yet.

    Raises OptionError for a URL or an option that cannot work.
    """
    scheme = url.partition("://")[0].lower() if "://" in url else None
    if scheme in (None, "file", "memory") and config:
        raise OptionError(f"{url} takes no options, but got {', '.join(config)}: drop them", option=next(iter(config)))
    if scheme is None:
        return LocalStore(Path(url).absolute(), mkdir=True, automatic_cleanup=True)
    if scheme == "file":
        return LocalStore.from_url(url, mkdir=True, automatic_cleanup=True)
    if scheme == "memory":
        return MemoryStore()
    try:
        store = from_url(url, **config)
    except (obstore.exceptions.BaseError, ValueError) as why:
        raise OptionError(f"{url} cannot be opened as a store: {first_line(why)}", option="url") from why
    if not isinstance(store, Cloud):
        raise OptionError(f"{url} is no store: use a directory, memory://, s3://, gs:// or az://", option="url")
    return store


def bucket_fault(error: Exception, bucket: str) -> str | None:
    """What to do about an error that is the bucket's or of its credentials, in one line; None for any other.

    `bucket` is its URL, such as `s3://bucket`. obstore's kinds are lost where its writer raises OSError.
    """
    text = str(error)
    code = re.search(r"<Code>(\w+)</Code>", text)
    if code and code[1] == "NoSuchBucket":
        return f"there is no bucket {bucket}: make it, or mend its name"
    if "//169.254." in text or "//metadata." in text:  # where machines in a cloud ask for credentials
        names = _CREDENTIALS.get(bucket[:2].lower(), "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY")
        return f"there are no credentials for {bucket}: set {names}, as obstore reads them, in the environment"
    if re.search(r"lacked (?:the necessary privileges|valid authentication)|status code: 40[13] ", text):
        why = f" ({code[1]})" if code else ""
        path = re.search(r"to complete for path (\S+):", text)
        what = path[1] if path else "to be listed" if "performing list request" in text else "this"
        return f"{bucket} refuses {what}{why}: see to the credentials, and to what they may do there"
    return None


def first_line(error: BaseException) -> str:
    """What an error of obstore says; the rest is for those who debug obstore."""
    return str(error).partition("\n")[0]
