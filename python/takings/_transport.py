"""HTTP clients of a program's own, as takings sends over them.

Of the program's client come its proxies, certificates, connections, hooks and mocks. What is sent
is takings' own, to the header: no default header, cookie, query or credential of the client's joins
it. No redirect is followed, no answer is unpacked, and the time-out holds for the whole attempt.
"""

from __future__ import annotations

import concurrent.futures
import contextvars
import http.client
import re
import ssl
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from functools import partial
from operator import index
from types import SimpleNamespace
from typing import Any

from ._exchange import Transport
from ._takings import Call, invalid_argument
from .steps import Send

# Sends a request of the call, and gives the call's next step.
Exchange = Callable[[Call[Any], Send], Any]
# Whether the error proves that nothing of the request has left.
Proof = Callable[[BaseException], bool]

# the ways in which HTTP clients say so, each with a manual of its own
CLOSED = (http.client.RemoteDisconnected, ssl.SSLEOFError)
BROKEN = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError)
CLOSED_EARLY = "the connection was closed before an answer came"
NO_SENSE = "the answer makes no sense"
PLAIN_THROUGH_PROXY = (
    "the HTTP client's proxy would see the credential of a plain http request; leave this address "
    "out of what it is for (NO_PROXY, mounts)"
)


def over(transport: Transport | Exchange, base_url: str) -> Exchange:
    """The exchange of one request over this transport."""
    if transport is on_loop:
        return on_loop
    if is_a(transport, "httpx", "Client"):
        return partial(_within, partial(_httpx, transport), httpx_sent_nothing)
    if is_a(transport, "requests", "Session"):
        _refuse_to_send_again(transport, base_url)
        return partial(_within, partial(_requests, transport), _requests_sent_nothing)
    raise invalid_argument(
        "transport",
        name_of(transport),
        "an httpx.Client or a requests.Session (takings.AsyncClient takes an httpx.AsyncClient; "
        "anything else can send what prepare() returns)",
    )


def on_loop(call: Call[Any], send: Send) -> Any:
    """Stands for an `httpx.AsyncClient`, over which a `takings.AsyncClient` sends by itself."""
    raise NotImplementedError


class Unsent(Exception):
    """An attempt raises this where nothing of the request can have left."""


def words(error: BaseException) -> str:
    """The text of an exception of the program's, whose code must not replace the outcome."""
    try:
        return str(error) or type(error).__name__
    except Exception:
        return type(error).__name__


def is_a(transport: object, package: str, name: str) -> bool:
    """Whether the transport is of this class; the class's package is not loaded for it."""
    with suppress(Exception):
        classes = type(transport).__mro__
        return (package, name) in [(of.__module__.partition(".")[0], of.__name__) for of in classes]
    return False


def name_of(transport: object) -> str:
    try:
        name = f"{type(transport).__module__}.{type(transport).__qualname__}"
    except Exception:
        name = "(without a name)"
    return "of the type " + "".join(filter(str.isprintable, name))[:100]


def _sender(thing: Any) -> Any:
    """The class whose `send` an HTTP client or adapter has; None for one of its own."""
    if "send" in getattr(thing, "__dict__", ()):
        return None
    return next(class_ for class_ in type(thing).__mro__ if "send" in vars(class_))


class Arriving:
    """An answer, as far as it has come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        # the HTTP client's own object, once it is made
        self.request: Any = None
        # whether the HTTP client reports this request's connection
        self.followed = False
        # how often the request may have left
        self.sendings = 0
        # status and headers, once they have arrived
        self.head: tuple[int, list[tuple[bytes | str, bytes | str]]] | None = None
        self.body = bytearray()
        self._over = False

    def is_of(self, thing: Any) -> bool:
        """Whether the thing is of this request: a program's hooks send other requests, and fail."""
        try:
            return self.request is not None and thing.request is self.request
        except Exception:
            return False

    def more(self, chunk: bytes) -> bool:
        """Takes a part of the body, and says whether another part is wanted."""
        self.body += chunk[: self._send.most_answer - len(self.body)]
        return len(self.body) < self._send.most_answer and not self._over

    def begins(self, status: Any, headers: Iterable[tuple[Any, Any]]) -> None:
        """Takes status and headers, where they are of the types that the call reads."""
        number, pairs = index(status), [(name, value) for name, value in headers]
        texts = [text for pair in pairs for text in pair]
        if number not in range(1000) or not all(issubclass(type(of), bytes | str) for of in texts):
            raise ConnectionError(NO_SENSE)
        self.head = number, pairs

    def end(self, call: Call[Any], ended: Any, sent_nothing: Proof) -> Any:
        """Gives the call the answer or the reason for its absence, and returns the next step.

        `ended` is the future of the attempt, of a thread or of an event loop.
        """
        self._over = True
        error = ended.exception() if ended.done() else None
        if self.head is not None and self.sendings <= 1:
            # the status decides, even where the body broke off
            return call.answered(*self.head, bytes(self.body))
        try:
            tell, why = self._absence(call, ended.done(), error, sent_nothing)
        except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
            raise
        except BaseException:
            tell, why = call.maybe_sent, "the answer was lost"
        return tell(why)

    def _absence(
        self, call: Call[Any], is_done: bool, error: BaseException | None, sent_nothing: Proof
    ) -> tuple[Callable[[str], Any], str]:
        """The reason why there is no answer, and the method of the call that is told so."""
        if self.sendings > 1:
            return (
                call.maybe_sent,
                "the program's HTTP client sent it again, so no answer is certain",
            )
        if not is_done:
            return call.maybe_sent, f"no answer within {self._send.timeout:.1f} s"
        if error is None:
            return call.maybe_sent, "the transport gave no answer"
        root = _root(error)
        if not self.sendings and isinstance(error, Unsent):
            return call.not_sent, words(error)
        if self.followed and not self.sendings and self.is_of(error) and sent_nothing(error):
            return call.not_sent, f"no connection ({words(root)})"
        if isinstance(root, CLOSED) or "disconnected" in words(root):
            return call.maybe_sent, CLOSED_EARLY
        broken = "connection was broken off before an answer came"
        lost = broken if isinstance(root, BROKEN) else "answer was lost"
        return call.maybe_sent, f"the {lost} ({words(root)})"


def for_thread(
    ended: concurrent.futures.Future[Any], work: Callable[..., Any], *arguments: Any
) -> Callable[[], None]:
    """The work in the caller's context, for a thread to run; the future has its end."""
    context = contextvars.copy_context()

    def run() -> None:
        if ended.set_running_or_notify_cancel():
            try:
                ended.set_result(context.run(work, *arguments))
            except BaseException as error:
                ended.set_exception(error)

    return run


def _within(
    attempt: Callable[[Send, Arriving], None], sent_nothing: Proof, call: Call[Any], send: Send
) -> Any:
    """Makes the attempt, and stops waiting for it when its time is up.

    These HTTP clients limit each read and not the whole. An answer that comes byte by byte would
    have no limit, and a name look-up neither. The attempt therefore has a thread of its own, which
    an attempt whose time is up keeps until it fails or is answered.
    """
    arriving = Arriving(send)
    ended: concurrent.futures.Future[None] = concurrent.futures.Future()
    # the program's hooks find the caller's context, such as the span above it
    work = for_thread(ended, attempt, send, arriving)
    try:
        threading.Thread(target=work, name="takings attempt", daemon=True).start()
    except RuntimeError as error:
        # a signal's handler may have raised the error, or a recursion that is too deep, while the
        # thread was being started
        if ended.cancel() and "new thread" in words(error):
            return call.not_sent(f"no thread for it ({error})")
        raise
    concurrent.futures.wait([ended], send.timeout)
    return arriving.end(call, ended, sent_nothing)


# The innermost reason: the outer reasons only say that something failed.
def _root(error: BaseException) -> BaseException:
    for _ in range(20):
        cause = error.__context__ if error.__cause__ is None else error.__cause__
        if cause is None:
            break
        error = cause
    return error


# --- httpx --------------------------------------------------------------------------------


def httpx_trace(arriving: Arriving, event: str, info: Mapping[str, Any]) -> None:
    """Notes the next act of httpx with the request."""
    # a transport of the program's may have sent the request in another way before
    refusal = (Unsent if arriving.followed else ConnectionError)(PLAIN_THROUGH_PROXY)
    url, sent = arriving.request.url, info.get("request")
    if event.endswith("connect_tcp.started"):
        own = url.host, url.port or 80
        if url.scheme == "http" and (info.get("host"), info.get("port")) != own:
            raise refusal
    elif event.endswith("send_request_headers.started"):
        # a proxy is asked to lead to the host, with nothing of the request
        if getattr(sent, "method", None) == b"CONNECT":
            return
        # a proxy is asked to fetch the answer
        if getattr(getattr(sent, "url", None), "target", b"").startswith(b"http"):
            raise refusal
        arriving.sendings += 1


@contextmanager
def httpx_attempt(
    client: Any, send: Send, arriving: Arriving, trace: Callable[[str, Mapping[str, Any]], Any]
) -> Generator[dict[str, Any], None, None]:
    """An attempt over either client of httpx; gives the arguments for the client's `send`.

    `trace` is called for each act of httpx with the request.
    """
    import httpx

    if client.is_closed:
        name = "AsyncClient" if is_a(client, "httpx", "AsyncClient") else "Client"
        raise Unsent(f"the httpx.{name} is closed")
    # The connection is not used again: httpx takes bytes behind an answer for the answer to the
    # next request, and so for the outcome of another capture.
    headers = [*send.headers, ("accept-encoding", "identity"), ("connection", "close")]
    limits = httpx.Timeout(send.timeout, connect=send.connect_timeout, pool=send.connect_timeout)
    extensions = {"timeout": limits.as_dict(), "trace": trace}
    # no client adds to a request that is made without one
    arriving.request = httpx.Request(
        send.method, send.url, headers=headers, content=send.body or None, extensions=extensions
    )
    # Reports count where httpx itself sends, or a test's double: another transport may send other
    # requests as well, and fail with those.
    find = getattr(client, "_transport_for_url", None)
    plain = (httpx.HTTPTransport, httpx.AsyncHTTPTransport, httpx.MockTransport)
    is_own = _sender(client) in (httpx.Client, httpx.AsyncClient)
    arriving.followed = is_own and type(find and find(arriving.request.url)) in plain
    try:
        # without `auth`, the client's or a .netrc's would replace takings' credential
        yield {"request": arriving.request, "auth": None, "follow_redirects": False, "stream": True}
    except Exception as error:
        # a hook that raises for a status it does not like has met an answer all the same
        answer = getattr(error, "response", None)
        if answer is not None and arriving.is_of(answer):
            with suppress(Exception):
                httpx_head(answer, arriving)
        raise


def httpx_head(answer: Any, arriving: Arriving) -> bool:
    """Takes the head of an answer, and says whether the body is still to be read."""
    # httpx reads an answer of any version
    if answer.http_version not in ("HTTP/1.1", "HTTP/1.0", "HTTP/2"):
        raise ConnectionError(f"the answer is not HTTP but {answer.http_version!r:.20}")
    arriving.begins(answer.status_code, answer.headers.raw)
    # a hook may have read the body
    if answer.is_stream_consumed:
        arriving.more(answer.content)
    return not answer.is_stream_consumed


def httpx_sent_nothing(error: BaseException) -> bool:
    """Only a connection that was not made proves that nothing has left."""
    import httpx

    refused = (httpx.ConnectError, httpx.ProxyError, httpx.UnsupportedProtocol)
    return isinstance(error, (*refused, httpx.ConnectTimeout, httpx.PoolTimeout))


def _httpx(client: Any, send: Send, arriving: Arriving) -> None:
    trace = partial(httpx_trace, arriving)
    # where something is left of the answer, `closing` closes the connection
    with (
        httpx_attempt(client, send, arriving, trace) as sending,
        closing(client.send(**sending)) as answer,
    ):
        if httpx_head(answer, arriving):
            for chunk in answer.iter_raw():
                if not arriving.more(chunk):
                    break


# --- requests -----------------------------------------------------------------------------


def _requests(session: Any, send: Send, arriving: Arriving) -> None:
    import requests
    import urllib3

    def take(answer: Any, **settings: Any) -> Any:
        arriving.sendings += 1
        if arriving.head is not None:
            # a hook sent the request again
            return answer
        raw = answer.raw
        try:
            head = list(raw.headers.items())
            real = _sense(raw)
            whole = real is None or _is_whole(real, raw.connection)
            if real:
                _use_no_more(raw.connection)
            chunks, begun, broken = _chunks(raw), b"", False
            try:
                begun = next(chunks, b"")
            except urllib3.exceptions.HTTPError:
                broken = True
            # a body begins behind the blank line alone
            if not (whole or begun):
                raise ConnectionError("the head of the answer was cut")
            arriving.begins(answer.status_code, head)
            if arriving.more(begun) and not broken:
                with suppress(urllib3.exceptions.HTTPError):
                    for chunk in chunks:
                        if not arriving.more(chunk):
                            break
        finally:
            answer.close()
        # The program's hooks find a body that has been read, as usual. An exception of theirs, or
        # an answer that they put in place of this one, is not Klarna's.
        answer._content, answer._content_consumed = bytes(arriving.body), True
        hooks: Any = session.hooks.get("response") or []
        for hook in [hooks] if callable(hooks) else hooks:
            answer = hook(answer, **settings) or answer
        # with a location, requests would read the whole body of a redirect
        answer.headers.pop("location", None)
        return answer

    # the session would add headers, cookies, a query and credentials
    headers = {**dict(send.headers), "accept-encoding": "identity"}
    request = requests.Request(
        send.method, send.url, headers, data=send.body or None, hooks={"response": take}
    )
    arriving.request = prepared = request.prepare()
    try:
        arriving.followed = _requests_is_plain(session, send.url)
        _refuse_to_send_again(session, send.url)
    except ValueError as error:
        # the adapter was mounted after the client was made
        raise Unsent(words(error)) from error
    settings = session.merge_environment_settings(prepared.url, {}, True, None, None)
    if send.url.startswith("http:"):
        # plain http is for this machine alone: no proxy may see the credential
        settings["proxies"] = {}
    with suppress(Exception):
        # no double has these, and an old requests has them by another name
        find = session.get_adapter(send.url).get_connection_with_tls_context
        trust = {name: settings[name] for name in ("verify", "proxies", "cert")}
        _note_heads(find(prepared, **trust))
    timeout = send.connect_timeout, send.timeout
    session.send(prepared, timeout=timeout, allow_redirects=False, **settings)


class _Noting(http.client.HTTPResponse):
    """An answer that knows whether its head came to the blank line.

    http.client takes the end of a connection for the end of a head as well, and an interim answer
    for the answer, except for a 100.
    """

    last_line = b""

    def begin(self, **settings: Any) -> None:
        # a head is read by its lines alone
        this: Any = self
        file = this.fp

        def readline(limit: int) -> bytes:
            self.last_line = line = bytes(file.readline(limit))
            return line

        this.fp = SimpleNamespace(readline=readline, close=file.close)
        try:
            super().begin(**settings)
            while 100 <= self.status < 200 and self.status != 101:
                this.headers = None
                super().begin(**settings)
        finally:
            this.fp = file


def _note_heads(pool: Any) -> None:
    """Lets the connections that this pool will make note how heads end."""
    made = pool.ConnectionCls
    if getattr(made, "response_class", None) is http.client.HTTPResponse:
        pool.ConnectionCls = type(made.__name__, (made,), {"response_class": _Noting})


def _sense(raw: Any) -> http.client.HTTPResponse | None:
    """Refuses a head that http.client could not read to its end. None for a test's double.

    The core refuses interim answers, and headers that were read and make no sense.
    """
    answer = getattr(raw, "_original_response", None)
    if not isinstance(answer, http.client.HTTPResponse):
        return None
    message = answer.msg
    if message.defects or message.get_payload() or _CONTROL.search(answer.reason or ""):
        raise ConnectionError(NO_SENSE)
    return answer


def _is_whole(answer: http.client.HTTPResponse, connection: Any) -> bool:
    """Whether the head is known to have come to its blank line.

    A connection that was made before the first call notes nothing. There an empty body shows it
    where it leaves the connection open.
    """
    from urllib3.util.connection import is_connection_dropped

    if isinstance(answer, _Noting):
        return answer.last_line in (b"\r\n", b"\n")
    return answer.length == 0 and not answer.will_close and not is_connection_dropped(connection)


def _use_no_more(connection: Any) -> None:
    """Lets no other request use the connection: bytes that come late would be its answer."""
    if connection is not None and connection.sock is not None:
        # the answer can still be read, which has a file of the socket
        connection.sock.close()
        connection.sock = None


_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


def _chunks(raw: Any) -> Iterator[bytes]:
    """A body as it arrives: `stream` would wait for a chunk to be full."""
    if not hasattr(raw, "read1"):
        return iter(raw.stream(65536, decode_content=False))
    return iter(partial(raw.read1, 65536, decode_content=False), b"")


def _requests_sent_nothing(error: BaseException) -> bool:
    """The reason inside decides: requests has the same ConnectionError for a connection that was
    not made and for a broken connection."""
    import requests

    if isinstance(error, requests.exceptions.InvalidURL):
        return True
    inside = error.args[0] if error.args else None
    return _made_no_connection(getattr(inside, "reason", inside))


def _made_no_connection(reason: Any) -> bool:
    from urllib3 import exceptions

    if isinstance(reason, exceptions.ProxyError):
        # the proxy was not reached, or refused the tunnel
        inner = reason.original_error
        return _made_no_connection(inner) or str(inner).startswith("Tunnel connection failed")
    if isinstance(reason, exceptions.SSLError):
        # another error of TLS may have come after the handshake
        return any(isinstance(inner, ssl.SSLCertVerificationError) for inner in reason.args)
    connecting = (exceptions.NewConnectionError, exceptions.ConnectTimeoutError)
    return isinstance(reason, (*connecting, ssl.SSLCertVerificationError))


def _requests_is_plain(session: Any, url: str) -> bool:
    """Whether requests itself sends, or a test's double.

    Another sender may send the request again, and fail with the last attempt.
    """
    import requests
    from requests.adapters import HTTPAdapter

    adapter = session.get_adapter(url)
    known = _sender(adapter) is HTTPAdapter or is_a(adapter, "requests_mock", "Adapter")
    return known and _sender(session) is requests.Session


def _refuse_to_send_again(session: Any, base_url: str) -> None:
    """Refuses an adapter whose retries may send a capture again without takings."""
    retries = getattr(session.get_adapter(base_url), "max_retries", None)
    # a total of None leaves the number to other settings
    if retries is None or getattr(retries, "total", 0) in (0, False):
        return
    methods = getattr(retries, "allowed_methods", None)
    # errors beside connecting, reading and a status are retried for every method
    others = getattr(retries, "other", None) not in (0, False)
    if others or not methods or {"POST", "PATCH"} & set(methods):
        raise invalid_argument(
            "transport",
            "a requests.Session that sends a POST again, or a PATCH (its adapter's Retry)",
            "one that leaves this to takings: mount a plain HTTPAdapter(), or one whose Retry has "
            "other=0 and allowed_methods without POST and PATCH, for " + base_url,
        )
