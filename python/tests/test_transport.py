"""HTTP clients of a program's own: what takings takes from them, and what it does not."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
import requests_mock
import respx
import takings
from conftest import Sandbox
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

ID = "4ba29b50-be7b-44f5-a492-113e6a865e22"
Http = Any
Make = Callable[..., takings.Client]


@pytest.fixture(params=["httpx", "requests"])
def http(request: pytest.FixtureRequest) -> Iterator[Http]:
    with httpx.Client() if request.param == "httpx" else requests.Session() as http:
        yield http


@pytest.fixture
def make(sandbox: Sandbox, http: Http) -> Make:
    """Makes a client that sends over the HTTP client."""

    def make(**settings: Any) -> takings.Client:
        settings = {"base_url": sandbox.url, "backoff": 0.002, "transport": http, **settings}
        return takings.Client("sandbox", "sandbox", **settings)

    return make


def until_captured(sandbox: Sandbox, order_id: str) -> None:
    deadline = time.monotonic() + 10
    while not sandbox.ledger(order_id):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def on_answer(http: Http, hook: Callable[..., Any]) -> None:
    if isinstance(http, httpx.Client):
        http.event_hooks["response"].append(hook)
    else:
        http.hooks["response"].append(hook)


def headers(request: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in request["headers"]}


def test_a_capture_and_a_look(sandbox: Sandbox, make: Make) -> None:
    order_id = sandbox.order({"fault": "lost_answer"}, {"fault": "status", "status": 503})
    client = make()
    capture = client.capture(order_id, captured_amount=1, reference="r")
    assert (capture.attempts, len(capture.attempt_log)) == (3, 3)
    [entry] = sandbox.ledger(order_id)
    assert entry["capture_id"] == capture.capture_id
    found = client.reconcile(order_id, reference="r", captured_amount=1)
    assert found.capture_id == capture.capture_id
    with pytest.raises(takings.Rejected, match="CAPTURE_NOT_ALLOWED"):
        client.capture(order_id, captured_amount=10_001)


def test_what_is_sent_is_takings_own(
    sandbox: Sandbox, make: Make, http: Http, order_id: str, monkeypatch: Any, tmp_path: Path
) -> None:
    """Whatever the HTTP client would add, its credentials above all."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    http.auth = ("somebody", "else")
    http.params = {"added": "1"}
    http.headers["x-added"] = "1"
    http.headers["authorization"] = "Bearer other"
    http.cookies.set("added", "1")
    http.follow_redirects = True
    make().capture(order_id, captured_amount=1)
    [request] = sandbox.requests(order_id)
    sent = headers(request)
    assert sent["authorization"] == "Basic c2FuZGJveDpzYW5kYm94"
    assert sent["user-agent"] == f"takings/{takings.__version__} (python)"
    assert sent["accept-encoding"] == "identity"
    assert request["target"].endswith("/captures")
    assert not {"x-added", "cookie"} & set(sent)


def test_a_redirect_is_not_followed(sandbox: Sandbox, make: Make, http: Http) -> None:
    http.follow_redirects = True
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        where = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/{ID}"
        text = f"HTTP/1.1 307 Away\r\nLocation: {where}\r\nContent-Length: 2\r\n\r\nno"
        order_id = sandbox.order(*[{"fault": "raw", "text": text, "then": "close"}] * 3)
        with pytest.raises(takings.OutcomeUnknown) as caught:
            make(timeout=2).capture(order_id, captured_amount=1)
        assert (caught.value.http_status, caught.value.attempts) == (307, 3)
        elsewhere.setblocking(False)
        with pytest.raises(BlockingIOError):
            elsewhere.accept()
    assert len(sandbox.requests(order_id)) == 3


def test_the_hooks_of_the_program_are_called(make: Make, http: Http, order_id: str) -> None:
    """With what the program knows of the call."""
    shop = contextvars.ContextVar[str]("shop")
    seen: list[tuple[str, int]] = []

    def hook(answer: Any, **_: Any) -> None:
        seen.append((shop.get("?"), answer.status_code))

    on_answer(http, hook)
    shop.set("ours")
    make().capture(order_id, captured_amount=1)
    assert seen == [("ours", 201)]


def test_a_hook_that_raises_for_a_status(make: Make, http: Http, order_id: str) -> None:
    """A common one; the answer is one all the same."""

    def hook(answer: Any, **_: Any) -> None:
        answer.raise_for_status()

    on_answer(http, hook)
    with pytest.raises(takings.Rejected) as caught:
        make().capture(order_id, captured_amount=10_001)
    assert (caught.value.http_status, caught.value.attempts) == (403, 1)


class Odd(Exception):
    def __str__(self) -> str:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "failure", ["of its own", "half a \ud800 pair", Odd(), "no connection", "refused", "not found"]
)
def test_a_hook_that_fails_says_nothing_of_the_capture(
    sandbox: Sandbox, make: Make, http: Http, failure: str | Exception
) -> None:
    """Whatever it raises, above all where that is what a request of its own met."""
    order_id = sandbox.order()

    def hook(answer: Any, **_: Any) -> None:
        other = httpx if isinstance(http, httpx.Client) else requests
        if failure == "no connection":
            other.get("http://no-such-host.invalid")
        elif failure == "refused":
            with socket.socket() as unused:
                unused.bind(("127.0.0.1", 0))
                other.get(f"http://127.0.0.1:{unused.getsockname()[1]}")
        elif failure == "not found":
            other.get(f"{sandbox.url}/sandbox/nothing").raise_for_status()
        elif isinstance(failure, Exception):
            raise failure
        raise ZeroDivisionError(failure)

    on_answer(http, hook)
    client = make()
    if isinstance(http, requests.Session):
        # the answer was read before
        client.capture(order_id, captured_amount=1)
    else:
        with pytest.raises(takings.OutcomeUnknown) as caught:
            client.capture(order_id, captured_amount=1)
        assert caught.value.attempts == 3
        assert caught.value.idempotency_key
    assert len(sandbox.ledger(order_id)) == 1


def test_a_hook_of_an_async_client_that_fails(sandbox: Sandbox) -> None:
    order_id = sandbox.order()

    async def hook(answer: httpx.Response) -> None:
        async with httpx.AsyncClient() as other:
            await other.get("http://no-such-host.invalid")

    async def capture() -> None:
        async with (
            httpx.AsyncClient(event_hooks={"response": [hook]}) as http,
            takings.AsyncClient(
                "sandbox", "sandbox", base_url=sandbox.url, backoff=0.002, transport=http
            ) as client,
        ):
            await client.capture(order_id, captured_amount=1)

    with pytest.raises(takings.OutcomeUnknown):
        asyncio.run(capture())
    assert len(sandbox.ledger(order_id)) == 1


class Telling(httpx.HTTPTransport):
    """Tells somebody else of each request, who cannot be reached."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        super().handle_request(request).close()
        return super().handle_request(httpx.Request("GET", "http://no-such-host.invalid"))


class Rebuilding(httpx.BaseTransport):
    """The same, and it sends a request of its own making."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with httpx.Client() as inner:
            inner.request(
                request.method, request.url, headers=request.headers, content=request.read()
            )
            return inner.post("http://no-such-host.invalid")


@pytest.mark.parametrize("within", [Telling, Rebuilding])
def test_a_transport_within_that_fails(
    sandbox: Sandbox, order_id: str, within: type[httpx.BaseTransport]
) -> None:
    with httpx.Client(transport=within()) as http:
        client = takings.Client(
            "sandbox", "sandbox", base_url=sandbox.url, backoff=0.002, transport=http
        )
        with pytest.raises(takings.OutcomeUnknown):
            client.capture(order_id, captured_amount=1)
    assert len(sandbox.ledger(order_id)) == 1


def sent_again(send: Callable[..., Any], request: Any, **settings: Any) -> Any:
    """Sends it once more, when nobody listens any longer."""
    with suppress(requests.ConnectionError):
        send(request, **settings)
    request.url = "http://127.0.0.1:1/"
    return send(request, **settings)


class Again(HTTPAdapter):
    def send(self, request: Any, *others: Any, **settings: Any) -> Any:
        assert not others
        return sent_again(super().send, request, **settings)


class AgainSession(requests.Session):
    def send(self, request: Any, **settings: Any) -> Any:
        return sent_again(super().send, request, **settings)


@pytest.mark.parametrize("where", ["adapter", "session", "instance"])
def test_what_sends_in_the_place_of_requests(sandbox: Sandbox, where: str) -> None:
    order_id = sandbox.order({"fault": "reset_after_commit"})
    with AgainSession() if where == "session" else requests.Session() as session:
        if where == "adapter":
            session.mount("http://", Again())
        elif where == "instance":
            vars(session)["send"] = partial(sent_again, session.send)
        client = takings.Client(
            "sandbox", "sandbox", base_url=sandbox.url, transport=session, max_attempts=1
        )
        with pytest.raises(takings.OutcomeUnknown):
            client.capture(order_id, captured_amount=1)
    assert len(sandbox.ledger(order_id)) == 1


def test_a_hook_that_sends_it_again(sandbox: Sandbox, make: Make, http: Http) -> None:
    """Of two answers nobody knows which one is the capture's."""
    order_id = sandbox.order(
        {"fault": "reset_after_commit"},
        {"fault": "status", "status": 503},
        {"fault": "status", "status": 401},
    )

    def hook(answer: Any, **_: Any) -> Any:
        if answer.status_code == 503:
            again = http.send(answer.request)
            again.raise_for_status()
            return again
        return None

    on_answer(http, hook)
    with pytest.raises(takings.OutcomeUnknown) as caught:
        make(max_attempts=2).capture(order_id, captured_amount=1)
    assert (caught.value.attempts, caught.value.http_status) == (2, None)
    assert len(sandbox.requests(order_id)) == 3


@pytest.mark.parametrize("raising", [False, True])
def test_a_hook_may_read_the_answer(make: Make, http: Http, order_id: str, raising: bool) -> None:
    """And takings has it all the same."""
    seen: list[Any] = []

    def hook(answer: Any, **_: Any) -> None:
        if isinstance(answer, httpx.Response):
            answer.read()
        seen.append(answer.json()["error_code"])
        if raising:
            answer.raise_for_status()

    on_answer(http, hook)
    with pytest.raises(takings.Rejected) as caught:
        make().capture(order_id, captured_amount=10_001)
    assert [caught.value.error_code] == seen == ["CAPTURE_NOT_ALLOWED"]


def test_hooks_of_a_session_in_every_shape(sandbox: Sandbox) -> None:
    session = requests.Session()
    seen: list[int] = []
    client = takings.Client("sandbox", "sandbox", base_url=sandbox.url, transport=session)

    def hook(answer: requests.Response, **_: Any) -> None:
        seen.append(answer.status_code)

    shapes: list[Any] = [{"response": hook}, {"response": []}, {"response": None}, {}]
    for hooks in shapes:
        session.hooks = hooks
        client.capture(sandbox.order(), captured_amount=1)
    assert seen == [201]


def test_what_a_hook_puts_in_the_place_of_the_answer(sandbox: Sandbox, order_id: str) -> None:
    session = requests.Session()
    other = requests.Response()
    other.status_code = 404

    def hook(answer: requests.Response, **_: Any) -> requests.Response:
        return other

    on_answer(session, hook)
    client = takings.Client("sandbox", "sandbox", base_url=sandbox.url, transport=session)
    assert client.capture(order_id, captured_amount=1).capture_id


@pytest.fixture
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that answers everything, and what it was told."""
    told: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                told.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 502 No\r\nContent-Length: 0\r\n\r\n")

    serving = threading.Thread(target=serve, daemon=True)
    serving.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", told
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    serving.join(5)


def test_no_proxy_sees_a_credential(
    sandbox: Sandbox, order_id: str, proxy: tuple[str, list[bytes]], monkeypatch: Any
) -> None:
    """Plain http is for this machine alone."""
    url, told = proxy
    settings: Any = {"base_url": sandbox.url, "max_attempts": 1}
    monkeypatch.setenv("HTTP_PROXY", url)
    monkeypatch.setenv("http_proxy", url)
    session = requests.Session()
    session.proxies = {"http": url, "all": url}
    takings.Client("sandbox", "sandbox", transport=session, **settings).capture(
        order_id, captured_amount=1
    )
    for http in (httpx.Client(), httpx.Client(proxy=url)):
        client = takings.Client("sandbox", "sandbox", transport=http, **settings)
        with pytest.raises(takings.NotSent, match="proxy would see the credential"):
            client.capture(order_id, captured_amount=1)
    with httpx.Client(proxy=url) as kept:
        kept.get(sandbox.url)
    assert len(told) == 1, "the proxy works"

    async def capture() -> None:
        async with httpx.AsyncClient(proxy=url) as http:
            client = takings.AsyncClient("sandbox", "sandbox", transport=http, **settings)
            await client.capture(order_id, captured_amount=1)

    with pytest.raises(takings.NotSent, match="proxy would see the credential"):
        asyncio.run(capture())
    # of TLS it sees where it leads, and nothing else
    https = takings.Client("u", "p", environment="live", transport=httpx.Client(proxy=url))
    with pytest.raises(takings.NotSent, match="502"):
        https.capture(order_id, captured_amount=1)
    assert told[1].startswith(b"CONNECT api.klarna.com:443")
    assert not [head for head in told if b"authorization" in head.lower()]


def test_where_nobody_listens_nothing_is_sent(make: Make) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(takings.NotSent, match="refused"):
            make(base_url=url).capture("order", captured_amount=1)
    with pytest.raises(takings.NotSent):
        make(base_url="https://no-such-host.invalid").capture("order", captured_amount=1)


def test_the_http_client_stays_open(sandbox: Sandbox, make: Make, http: Http) -> None:
    with make() as client:
        client.capture(sandbox.order(), captured_amount=1)
    assert http.get(f"{sandbox.url}/sandbox/ledger").status_code == 200


def test_a_closed_one_sends_nothing(sandbox: Sandbox) -> None:
    http = httpx.Client()
    http.close()
    client = takings.Client(
        "sandbox", "sandbox", base_url=sandbox.url, transport=http, max_attempts=1
    )
    with pytest.raises(takings.NotSent, match=r"the httpx\.Client is closed"):
        client.capture("order", captured_amount=1)


@pytest.fixture
def trickle() -> Iterator[str]:
    """A server whose answers come byte by byte, without end."""
    over = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                connection.sendall(b"HTTP/1.1 201 Created\r\nX-Long: ")
                while not over.wait(0.02):
                    connection.sendall(b"a")
            except OSError:
                pass

    def accept() -> None:
        while not over.is_set():
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=[connection], daemon=True).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    over.set()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    accepting.join(5)


def test_an_answer_that_trickles_ends_in_time(make: Make, trickle: str) -> None:
    began = time.monotonic()
    with pytest.raises(takings.OutcomeUnknown, match="no answer within"):
        make(base_url=trickle, timeout=0.5).capture("order", captured_amount=1)
    assert time.monotonic() - began < 10


def test_ctrl_c_keeps_the_key(sandbox: Sandbox, make: Make) -> None:
    order_id = sandbox.order({"fault": "delay", "seconds": 2, "when": "before_commit"})
    with (
        sandbox.signals(order_id, signal.SIGINT),
        pytest.raises(KeyboardInterrupt) as raised,
    ):
        make().capture(order_id, captured_amount=1)
    cause = raised.value.__cause__
    assert isinstance(cause, takings.OutcomeUnknown)
    assert cause.idempotency_key
    # The sent request is captured; the key leads to it.
    until_captured(sandbox, order_id)
    again = make().capture(order_id, captured_amount=1, idempotency_key=cause.idempotency_key)
    [entry] = sandbox.ledger(order_id)
    assert entry["capture_id"] == again.capture_id


class TimeLimit(Exception):
    """As those of celery and of many a web server, raised by a signal's handler."""


@pytest.mark.parametrize("error", [TimeLimit, RuntimeError])
def test_a_signals_handler_that_raises(
    sandbox: Sandbox, make: Make, error: type[Exception]
) -> None:
    def handler(*_: object) -> None:
        raise error("the time is up")

    order_id = sandbox.order({"fault": "delay", "seconds": 5, "when": "before_commit"})
    before = signal.signal(signal.SIGALRM, handler)
    try:
        began = time.monotonic()
        with (
            sandbox.signals(order_id, signal.SIGALRM),
            pytest.raises(error, match="the time is up") as raised,
        ):
            make().capture(order_id, captured_amount=1, idempotency_key=f"{order_id}-1")
        assert time.monotonic() - began < 4.5
    finally:
        signal.signal(signal.SIGALRM, before)
    cause = raised.value.__cause__
    assert isinstance(cause, takings.OutcomeUnknown)
    assert cause.idempotency_key == f"{order_id}-1"
    until_captured(sandbox, order_id)


def test_an_interruption_while_the_attempt_begins(
    sandbox: Sandbox, make: Make, order_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A RuntimeError does not prove that no thread was made, nor that the thread did nothing."""
    start = threading.Thread.start
    why = "the time is up"

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "takings attempt":
            until_captured(sandbox, order_id)
            raise RuntimeError(why)

    def refused(thread: threading.Thread) -> None:
        if thread.name == "takings attempt":
            raise RuntimeError(why)
        start(thread)

    client = make(max_attempts=1)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    for why in ("the time is up", "can't start new thread"):
        with pytest.raises(RuntimeError, match=why) as raised:
            client.capture(order_id, captured_amount=1, idempotency_key=f"{order_id}-1")
        assert isinstance(raised.value.__cause__, takings.OutcomeUnknown)
    monkeypatch.setattr(threading.Thread, "start", refused)
    another = sandbox.order()
    with pytest.raises(takings.NotSent, match="no thread for it"):
        client.capture(another, captured_amount=1)
    assert not sandbox.requests(another)


# --- what programs put in their place in tests ----------------------------------------------


def test_mocks_of_httpx() -> None:
    def shop(request: httpx.Request) -> httpx.Response:
        assert request.headers["klarna-idempotency-key"] == "k"
        return httpx.Response(201, headers={"Capture-Id": ID})

    usual: dict[str, Any] = {"username": "u", "password": "p", "environment": "playground"}
    mocked = httpx.Client(transport=httpx.MockTransport(shop))
    client = takings.Client(**usual, transport=mocked)
    assert client.capture("order", captured_amount=1, idempotency_key="k").capture_id == ID

    async def capture() -> str:
        async with (
            httpx.AsyncClient(transport=httpx.MockTransport(shop)) as http,
            takings.AsyncClient(**usual, transport=http) as client,
        ):
            made = await client.capture("order", captured_amount=1, idempotency_key="k")
            return made.capture_id

    assert asyncio.run(capture()) == ID
    with respx.mock:
        respx.post(path="/ordermanagement/v1/orders/order/captures").respond(
            403, json={"error_code": "CAPTURE_NOT_ALLOWED", "error_messages": []}
        )
        with pytest.raises(takings.Rejected) as caught:
            takings.Client(**usual, transport=httpx.Client()).capture("order", captured_amount=1)
        assert caught.value.error_code == "CAPTURE_NOT_ALLOWED"


def test_mocks_of_requests() -> None:
    session = requests.Session()
    client = takings.Client("u", "p", environment="playground", transport=session, backoff=0.002)
    with requests_mock.Mocker(session=session) as mocker:
        mocker.post(requests_mock.ANY, [{"exc": requests.ReadTimeout}, {"status_code": 201}])
        with pytest.raises(takings.OutcomeUnknown):
            client.capture("order", captured_amount=1)
        mocker.post(requests_mock.ANY, status_code=201, headers={"Capture-Id": ID})
        assert client.capture("order", captured_amount=1).capture_id == ID
        mocker.post(requests_mock.ANY, exc=requests.ConnectionError("which may be anything"))
        with pytest.raises(takings.OutcomeUnknown):
            client.capture("order", captured_amount=1)


# --- nonsense -------------------------------------------------------------------------------


class Foreign(BaseException):
    """As the libraries for greenlets have them."""


class Speechless(Foreign):
    def __str__(self) -> str:
        raise Foreign


class Endless(Exception):
    def __bool__(self) -> bool:
        raise Foreign


def foreign(*_: Any) -> Any:
    raise Foreign


class Tangled(Exception):
    __cause__: Any = property(foreign)


class Echo(str):
    __contains__: Any = foreign
    __format__: Any = foreign


class Wordy(Exception):
    def __str__(self) -> str:
        return Echo("words")


def raising(raised: BaseException, cause: BaseException | None = None) -> Callable[[Any], Any]:
    def nonsense(answer: Any) -> Any:
        if not getattr(answer, "is_closed", False):
            answer.close()
        raise raised from cause

    return nonsense


def with_status(status: Any) -> Callable[[Any], Any]:
    def nonsense(answer: Any) -> Any:
        answer.status_code = status
        return answer

    return nonsense


def with_headers(headers: Any) -> Callable[[Any], Any]:
    def nonsense(answer: Any) -> Any:
        of = answer if isinstance(answer, httpx.Response) else answer.raw
        of.headers = headers
        return answer

    return nonsense


NONSENSE: dict[str, Callable[[Any], Any]] = {
    **{
        type(raised).__name__: raising(raised)
        for raised in (Foreign(), Speechless(), Endless(), Tangled(), Wordy(), GeneratorExit())
    },
    "StopIteration": raising(StopIteration()),
    "cause": raising(Foreign(), Endless()),
    "nothing": lambda _: None,
    "a number": lambda _: 201,
    "a class": lambda _: httpx.Response,
    **{f"status {status!r}": with_status(status) for status in ("201", -1, 70_000, 2.5, None)},
    **{
        f"headers {headers!r}": with_headers(headers)
        for headers in (None, {"capture-id": 5}, {5: ID}, [("capture-id",)], {None: None})
    },
}


@pytest.mark.parametrize("nonsense", NONSENSE)
@pytest.mark.parametrize("http", ["httpx", "requests", "async"])
def test_nonsense_leaves_the_outcome_unknown(sandbox: Sandbox, http: str, nonsense: str) -> None:
    """It comes after the request has left."""
    order_id, make = sandbox.order(), NONSENSE[nonsense]
    usual: dict[str, Any] = {
        "username": "sandbox",
        "password": "sandbox",
        "base_url": sandbox.url,
        "max_attempts": 1,
    }

    class Transport(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            made: httpx.Response = make(super().handle_request(request))
            return made

    class Adapter(HTTPAdapter):
        def send(self, *arguments: Any, **settings: Any) -> requests.Response:
            made: requests.Response = make(super().send(*arguments, **settings))
            return made

    class AsyncTransport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            answer = await super().handle_async_request(request)
            await answer.aread()
            made: httpx.Response = make(answer)
            return made

    async def wait() -> None:
        async with (
            httpx.AsyncClient(transport=AsyncTransport()) as over,
            takings.AsyncClient(**usual, transport=over) as client,
        ):
            await client.capture(order_id, captured_amount=1, idempotency_key=order_id)

    def capture() -> None:
        if http == "async":
            return asyncio.run(wait())
        with httpx.Client(transport=Transport()) as ours, requests.Session() as session:
            session.mount("http://", Adapter())
            client = takings.Client(**usual, transport=ours if http == "httpx" else session)
            client.capture(order_id, captured_amount=1, idempotency_key=order_id)

    with pytest.raises(takings.OutcomeUnknown) as caught:
        capture()
    assert (caught.value.attempts, caught.value.idempotency_key) == (1, order_id)
    assert len(sandbox.ledger(order_id)) == 1


@pytest.mark.parametrize("raised", [KeyboardInterrupt, SystemExit, MemoryError])
def test_an_interrupt_in_the_thread_of_an_attempt(
    make: Make, http: Http, order_id: str, raised: type[BaseException]
) -> None:
    """It ends the attempt alone: the program's own come in its threads."""
    sends: list[int] = []

    def send(*_: Any, **__: Any) -> None:
        sends.append(1)
        raise raised

    http.send = send
    with pytest.raises(takings.OutcomeUnknown):
        make(max_attempts=2).capture(order_id, captured_amount=1)
    assert len(sends) == 2


def test_a_body_of_wrong_types_takes_nothing_from_the_status(sandbox: Sandbox) -> None:
    class Body(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[Any]:
            yield "text"

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(201, headers={"Capture-Id": ID}, stream=Body())

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        client = takings.Client("u", "p", base_url=sandbox.url, transport=http)
        assert client.capture("order", captured_amount=1).capture_id == ID


class TwoWays(httpx.HTTPTransport):
    """Sends the request, and once more where a proxy would see it."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        super().handle_request(request).close()
        with httpx.HTTPTransport(proxy=httpx.Proxy("http://127.0.0.1:1")) as other:
            return other.handle_request(request)


def test_a_second_way_that_is_refused_does_not_unsend_the_first(sandbox: Sandbox) -> None:
    order_id = sandbox.order()
    with httpx.Client(transport=TwoWays()) as http:
        client = takings.Client(
            "sandbox", "sandbox", base_url=sandbox.url, transport=http, max_attempts=1
        )
        with pytest.raises(takings.OutcomeUnknown, match="proxy would see the credential"):
            client.capture(order_id, captured_amount=1)
    assert len(sandbox.ledger(order_id)) == 1


def by_other_means(request: httpx.Request) -> None:
    """Sends the request by urllib, and then leads it to where nobody listens."""
    headers = dict(request.headers.items())
    other = urllib.request.Request(str(request.url), request.read(), headers, method=request.method)
    urllib.request.urlopen(other, timeout=120).close()
    request.url = request.url.copy_with(port=1)


class OtherTransport(httpx.BaseTransport):
    def handle_request(self, request: httpx.Request) -> httpx.Response:
        by_other_means(request)
        with httpx.HTTPTransport() as plain:
            return plain.handle_request(request)


class OtherClient(httpx.Client):
    def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        by_other_means(request)
        return super().send(request, **options)


def other_send() -> httpx.Client:
    http = httpx.Client()
    send = http.send

    def sent(request: httpx.Request, **options: Any) -> httpx.Response:
        by_other_means(request)
        return send(request, **options)

    http.send = sent  # type: ignore[method-assign]
    return http


@pytest.mark.parametrize(
    "make", [lambda: httpx.Client(transport=OtherTransport()), OtherClient, other_send]
)
def test_a_refused_connection_proves_nothing_of_other_means(
    sandbox: Sandbox, make: Callable[[], httpx.Client]
) -> None:
    order_id = sandbox.order()
    with make() as http:
        client = takings.Client(
            "sandbox", "sandbox", base_url=sandbox.url, transport=http, max_attempts=1
        )
        with pytest.raises(takings.OutcomeUnknown):
            client.capture(order_id, captured_amount=1)
    assert len(sandbox.ledger(order_id)) == 1


# --- what is refused ------------------------------------------------------------------------


def refused(make: Callable[..., Any] = takings.Client, **settings: Any) -> str:
    with pytest.raises(takings.InvalidInput) as caught:
        make("u", "p", environment="live", **settings)
    return str(caught.value)


@pytest.mark.parametrize("name", ["proxy", "ca_file"])
def test_settings_of_connections_are_the_http_clients(http: Http, name: str) -> None:
    given: dict[str, Any] = {name: "http://proxy.example:3128"}
    message = refused(transport=http, **given)
    assert (
        message == f"{name} is given beside a transport; it must be a setting of that HTTP client"
    )


def test_what_is_no_transport() -> None:
    on_loop = httpx.AsyncClient()
    wrong: Any
    for wrong in (on_loop, object(), httpx, "httpx", httpx.Client):
        assert "it must be an httpx.Client or a requests.Session" in refused(transport=wrong)
    for wrong in (httpx.Client(), requests.Session(), object(), 5):
        message = refused(takings.AsyncClient, transport=wrong)
        assert "it must be an httpx.AsyncClient (takings.Client takes an" in message
    assert "transport is of the type httpx.AsyncClient; " in refused(transport=on_loop)
    asyncio.run(on_loop.aclose())


@pytest.mark.parametrize("make", [takings.Client, takings.Client.from_env])
def test_a_session_that_cannot_be_asked(make: Callable[..., Any]) -> None:
    class Session(requests.Session):
        def get_adapter(self, *_: Any, **__: Any) -> Any:
            raise KeyError

    usual: dict[str, Any] = {"username": "u", "password": "p", "environment": "live"}
    with pytest.raises(takings.InvalidInput, match="own code raised a KeyError") as caught:
        make(**usual, transport=Session())
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize("methods", [None, False, ["GET", "POST"], ["PATCH"]])
def test_a_session_that_sends_again(methods: Any) -> None:
    session = requests.Session()
    session.mount("https://", HTTPAdapter(max_retries=Retry(3, allowed_methods=methods)))
    assert "a requests.Session that sends a POST again" in refused(transport=session)
    # a number of sendings that is given in another way
    session.mount("https://", HTTPAdapter(max_retries=Retry(None, read=1, allowed_methods=methods)))
    assert "a requests.Session that sends a POST again" in refused(transport=session)
    # after errors that are neither of connecting nor of reading, whatever the method
    session.mount("https://", HTTPAdapter(max_retries=3))
    assert "a requests.Session that sends a POST again" in refused(transport=session)
    # elsewhere it may
    session.mount("https://api.klarna.com/", HTTPAdapter(max_retries=Retry(3, other=0)))
    client = takings.Client("u", "p", environment="live", transport=session, backoff=0.002)
    # and none is used that comes later
    session.mount(
        "https://api.klarna.com/", HTTPAdapter(max_retries=Retry(3, allowed_methods=methods))
    )
    with pytest.raises(takings.NotSent, match="sends a POST again"):
        client.capture("order", captured_amount=1)


@pytest.mark.parametrize(
    "answer",
    [
        f"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nCapture-Id: {ID}\r\n",
        f"HTTP/1.1 201 Created\r\nConnection: close\r\nContent-Length: 0\r\nCapture-Id: {ID}\r\n",
        f"HTTP/1.1 103 Early Hints\r\nCapture-Id: {ID}\r\n\r\n",
    ],
)
def test_a_connection_that_the_program_has_made(answer: str) -> None:
    """No answer's head on it is read by takings, and it serves no later request."""
    with socket.create_server(("127.0.0.1", 0)) as server, requests.Session() as http:

        def serve() -> None:
            with server.accept()[0] as connection:
                for text in ("HTTP/1.1 204 X\r\n\r\n", answer):
                    connection.recv(65536)
                    connection.sendall(text.encode())
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass

        thread = threading.Thread(target=serve)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        assert http.get(url).status_code == 204
        client = takings.Client("s", "s", base_url=url, transport=http, max_attempts=1, timeout=5)
        with pytest.raises(takings.OutcomeUnknown) as caught:
            client.capture("order", captured_amount=1)
        assert (caught.value.http_status, caught.value.attempts) == (None, 1)
        thread.join(5)
        assert not thread.is_alive()


@pytest.mark.parametrize("fault", ["lost_answer", "reset_after_commit", "close_before_commit"])
def test_the_words_of_a_lost_answer_are_takings_own(
    sandbox: Sandbox, make: Make, fault: str
) -> None:
    """Whichever HTTP client lost it: each has a manual of its own."""
    capture = make().capture(sandbox.order({"fault": fault}), captured_amount=1)
    first = capture.attempt_log[0].came_back
    if fault == "reset_after_commit":
        assert first.startswith("the connection was broken off before an answer came (")
        assert "reset" in first
    else:
        assert first == "the connection was closed before an answer came"
