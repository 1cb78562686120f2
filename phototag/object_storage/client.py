"""The one S3 client of this process, by the settings that AWS's own tools use, and its errors in plain words."""

from __future__ import annotations

import errno
import os
import threading
from typing import Any

from phototag.errors import ObjectStorageError
from phototag.paths import S3Path

_CONNECTIONS = 64
_TRIES = 6
# What no other object of the bucket, and no second try, would do better.
_REFUSED = {
    "NoSuchBucket": "there is no such bucket; check its name, and AWS_ENDPOINT_URL for a server that is not Amazon's",
    "InvalidBucketName": "this is no name of a bucket",
    "InvalidAccessKeyId": "the server does not know this access key; check AWS_ACCESS_KEY_ID or AWS_PROFILE",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key; check AWS_SECRET_ACCESS_KEY",
    "ExpiredToken": "the credentials have expired; sign in again, and run it again to go on",
    "InvalidToken": "the server does not accept the session token; sign in again, or unset AWS_SESSION_TOKEN",
    "RequestTimeTooSkewed": "the clock of this computer is wrong; set it",
    "PermanentRedirect": "the bucket lies in another region; name it in AWS_DEFAULT_REGION",
    "AuthorizationHeaderMalformed": "the bucket lies in another region; name it in AWS_DEFAULT_REGION",
}
_BUSY = {"SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "Throttling", "TooManyRequests"}
_WHERE_CREDENTIALS = "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_lock = threading.Lock()
# A client is for one server and one identity.
_SETTINGS = ("AWS_PROFILE", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION")
_clients: dict[tuple[str | None, ...], Any] = {}


def client() -> Any:
    """Return the client. Threads may share it.

    Raises:
        ObjectStorageError: botocore is not installed, or its settings are wrong.
    """
    settings = tuple(map(os.environ.get, _SETTINGS))
    with _lock:
        if settings not in _clients:
            _clients[settings] = _new_client()
        return _clients[settings]


def _new_client() -> Any:
    try:
        import botocore.session
        from botocore import UNSIGNED
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise ObjectStorageError("s3:// needs botocore; run: pip install 'phototag[s3]'") from error
    try:
        session = botocore.session.get_session()
        # Times are read by the page, which takes a tenth of what botocore's own reader does.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
        config = Config(max_pool_connections=_CONNECTIONS, user_agent_extra="phototag")
        if not session.get_config_variable("max_attempts"):
            config = config.merge(Config(retries={"mode": "standard", "total_max_attempts": _TRIES}))
        if session.get_credentials() is None:
            config = config.merge(Config(signature_version=UNSIGNED))  # public buckets ask for none
        made = session.create_client("s3", config=config)
        style = (session.get_scoped_config().get("s3") or {}).get("addressing_style")
        if style is None and ".amazonaws." not in made.meta.endpoint_url:
            # A server of one's own seldom has a host name for every bucket.
            made = session.create_client("s3", config=config.merge(Config(s3={"addressing_style": "path"})))
    except (BotoCoreError, ValueError) as error:
        raise ObjectStorageError(f"s3://: {_one_line(error)}; see ~/.aws/config and the variables AWS_...") from error
    return made


def ask(operation: str, path: S3Path, **parameters: Any) -> Any:
    """Call one operation of S3 on the bucket of `path`, with retries, and return its answer.

    Raises:
        FileNotFoundError: there is no such object.
        PermissionError: it may not be read, or is archived.
        BlockingIOError: the server was too busy, several times.
        OSError: it refused for another reason.
        ObjectStorageError: no other object would fare better: credentials, bucket, network.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    s3 = client()
    try:
        return getattr(s3, operation)(Bucket=path.bucket, **parameters)
    except ClientError as error:
        raise _refusal(error.response, path, signed=_is_signed(s3)) from error
    except BotoCoreError as error:
        raise trouble(error, path) from error


def trouble(error: Exception, path: S3Path) -> ObjectStorageError:
    """Return the error for what keeps this computer from talking to the server."""
    from botocore.exceptions import ConnectionError as NoConnectionError
    from botocore.exceptions import HTTPClientError, IncompleteReadError, ParamValidationError

    bucket = f"s3://{path.bucket}"
    if isinstance(error, ParamValidationError):
        return ObjectStorageError(f"{bucket}: this is no name of a bucket, or {path.key!r} no key")
    if isinstance(error, (HTTPClientError, IncompleteReadError, NoConnectionError)):
        where = client().meta.endpoint_url
        return ObjectStorageError(
            f"{bucket}: {where} does not answer: {_one_line(error)}; check the network and AWS_ENDPOINT_URL, and run "
            "it again to go on"
        )
    return ObjectStorageError(f"{bucket}: {_one_line(error)}; {_WHERE_CREDENTIALS}")


def _refusal(response: Any, path: S3Path, *, signed: bool) -> Exception:
    code = str(response.get("Error", {}).get("Code", ""))
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in _REFUSED:
        return ObjectStorageError(f"s3://{path.bucket}: {_REFUSED[code]}")
    if status == 404:
        return FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    if code == "InvalidObjectState":
        return PermissionError(errno.EACCES, "the object is archived; restore it first")
    if status in (401, 403):
        why = "access is denied" if signed else f"not public, and no credentials were found; {_WHERE_CREDENTIALS}"
        return PermissionError(errno.EACCES, why)
    if status in (429, 500, 502, 503, 504) or code in _BUSY:
        return BlockingIOError(errno.EAGAIN, f"the server was too busy ({code or status}); try again")
    if status == 412:
        return OSError(errno.ESTALE, "the object changed while it was read")
    said = _one_line(response.get("Error", {}).get("Message", ""))
    return OSError(errno.EIO, f"the server said {code or status}{said and ': '}{said}")


def _is_signed(s3: Any) -> bool:
    return isinstance(s3.meta.config.signature_version, str)


def _one_line(error: object) -> str:
    return " ".join(str(error).split()).rstrip(".")
