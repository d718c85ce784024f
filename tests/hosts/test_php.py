"""PHP, through its FFI."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import shutil
import socket
from pathlib import Path
from typing import Any

from batch import LOST, captures_each_once, needs_an_account, tells_a_refusal
from support import ROOT, Program, Sandbox, until

FOLDER = ROOT / "examples/hosts/php"
README = (ROOT / "ffi-c/README.md").read_text()


def test_each_line_is_captured_once(sandbox: Sandbox, prefix: Path) -> None:
    command = ["php", FOLDER / "capture.php", prefix]
    captures_each_once(sandbox, *command)
    tells_a_refusal(sandbox, *command)
    needs_an_account(sandbox, *command)


def account(sandbox: Sandbox) -> dict[str, str]:
    return {
        "KLARNA_BASE_URL": sandbox.url,
        "KLARNA_USERNAME": "sandbox",
        "KLARNA_PASSWORD": "sandbox",
    }


def php(sandbox: Sandbox, prefix: Path, script: str) -> Any:
    """Runs a script that has $client, $orders and $prefix, and gives its $told."""
    orders = [sandbox.order(), sandbox.order(LOST, LOST, LOST), sandbox.order(order_amount=5)]
    text = f"""
        require '{FOLDER}/Takings.php';
        $prefix = '{prefix}';
        $client = Takings\\Client::fromEnvironment($prefix);
        $orders = json_decode('{json.dumps(orders)}');
        $told = [];
        {script}
        echo json_encode($told, JSON_THROW_ON_ERROR);
    """
    settings = ["error_reporting=-1", "display_errors=1", "zend.exception_ignore_args=0"]
    flags = [word for line in settings for word in ("-d", line)]
    with Program("php", *flags, "-r", text, environment=account(sandbox)) as program:
        return json.loads(program.end())


def test_everything_is_told(sandbox: Sandbox, prefix: Path) -> None:
    made, unknown, refused = php(
        sandbox,
        prefix,
        """
        $capture = $client->capture($orders[0], ['captured_amount' => 6000, 'order_lines' => [
            ['name' => 'Tomatoes', 'quantity' => 10, 'unit_price' => 600, 'total_amount' => 5999],
        ]]);
        $told[] = (array) $capture;
        foreach ([1, 2] as $number) {
            try {
                $request = ['captured_amount' => 6, 'first_use' => true];
                $client->capture($orders[$number], $request, 'a-key-' . $number);
            } catch (Takings\\Error $error) {
                $told[] = ['class' => $error::class, ...$error->fields];
            }
        }
        """,
    )
    [capture] = sandbox.ledger(made["order_id"])
    assert capture["capture_id"] == made["capture_id"]
    assert capture["idempotency_key"] == made["idempotency_key"]
    assert made["attempts"] == 1
    assert made["correlation_id"]
    assert "order_lines[0].total_amount" in made["warnings"][0]
    assert unknown["class"] == "Takings\\OutcomeUnknown"
    assert (unknown["kind"], unknown["attempts"], unknown["http_status"]) == (
        "outcome_unknown",
        3,
        None,
    )
    assert unknown["idempotency_key"] == "a-key-1"
    assert refused["class"] == "Takings\\Rejected"
    assert refused["http_status"] == 403
    assert refused["error_code"] == "CAPTURE_NOT_ALLOWED"
    assert refused["error_messages"]
    assert refused["retryable"] is False


def test_nothing_becomes_something_else_on_its_way(
    sandbox: Sandbox, prefix: Path, tmp_path: Path
) -> None:
    """Every failure is an error of takings, whether it is found in PHP or in the library."""
    (tmp_path / "share/takings").mkdir(parents=True)
    shutil.copy(prefix / "share/takings/takings.ffi.h", tmp_path / "share/takings")
    told = php(
        sandbox,
        prefix,
        f"$broken = '{tmp_path}';"
        """
        foreach ([60.0, 60.5, '60', true, null, [], PHP_INT_MAX] as $amount) {
            try {
                $client->capture($orders[0], ['captured_amount' => $amount]);
            } catch (Takings\\InvalidInput $error) {
                $told[] = $error->getMessage();
            }
        }
        $tries = [
            fn () => $client->capture($orders[0] . "\\0x", ['captured_amount' => 1]),
            fn () => $client->idempotencyKey($orders[0], "parcel-1\\0x"),
            fn () => $client->capture($orders[0], ['captured_amount' => 1, 'reference' => "\\xff"]),
            fn () => $client->call('captured', $orders[0], []),
            fn () => Takings\\Client::fromConfig(['timeout_ms' => INF], $prefix),
            fn () => Takings\\Client::fromConfig([], '/nowhere'),
            fn () => Takings\\Client::fromConfig([], $broken),
        ];
        foreach ($tries as $try) {
            try {
                $try();
            } catch (Takings\\InvalidInput $error) {
                $told[] = "$error->kind: $error->attempts: {$error->getMessage()}";
            }
        }
        foreach ([fn () => serialize($client), fn () => clone $client] as $try) {
            try {
                $try();
            } catch (Throwable $error) {
                $told[] = $error->getMessage();
            }
        }
        $told[] = $orders[0];
        """,
    )
    assert sandbox.ledger(told.pop()) == []
    assert len(told) == 16
    assert all(line.startswith("captured_amount ") for line in told[:7]), told
    assert all(line.startswith("invalid_input: 0: ") for line in told[7:14]), told
    assert all("NUL" in line for line in told[7:9])
    assert "JSON" in told[9]
    assert "captured" in told[10]
    assert "JSON" in told[11]
    assert "/nowhere/share/takings/takings.ffi.h is not there" in told[12]
    assert "libtakings.so.1" in told[13]


def test_a_header_of_another_version_is_told(
    sandbox: Sandbox, prefix: Path, tmp_path: Path
) -> None:
    """Errors of the FFI, and of a program's own objects, become errors of takings."""
    (tmp_path / "share/takings").mkdir(parents=True)
    (tmp_path / "lib").symlink_to(prefix / "lib")
    header = (prefix / "share/takings/takings.ffi.h").read_text()
    declared = "takings_client_from_env(const char *config_json, "
    assert declared in header
    other = header.replace(declared, "takings_client_from_env(")
    (tmp_path / "share/takings/takings.ffi.h").write_text(other)
    (tmp_path / "broken/share/takings").mkdir(parents=True)
    (tmp_path / "broken/share/takings/takings.ffi.h").write_text("no C at all")
    (tmp_path / "folder/share/takings/takings.ffi.h").mkdir(parents=True)
    told = php(
        sandbox,
        prefix,
        f"$other = '{tmp_path}';"
        """
        class Raises implements JsonSerializable {
            public function jsonSerialize(): mixed { throw new LogicException('of the program'); }
        }
        enum Unit { case Pure; }
        $circle = new stdClass();
        $circle->itself = $circle;
        $tries = [
            fn () => Takings\\Client::fromEnvironment($other),
            fn () => Takings\\Client::fromEnvironment("$other/broken"),
            fn () => @Takings\\Client::fromEnvironment("$other/folder"),
            fn () => Takings\\Client::fromEnvironment("\\0"),
            fn () => Takings\\Client::fromEnvironment($prefix, ['timeout' => 5]),
        ];
        foreach ([new Raises(), Unit::Pure, $circle, fopen('php://memory', 'r'), NAN] as $value) {
            $tries[] = fn () => $client->capture($orders[0], ['captured_amount' => $value]);
        }
        foreach ($tries as $try) {
            try {
                $try();
            } catch (Takings\\InvalidInput $error) {
                $told[] = $error->getMessage();
            }
        }
        $told[] = $orders[0];
        """,
    )
    assert sandbox.ledger(told.pop()) == []
    assert len(told) == 10, told
    assert "takings_client_from_env cannot be called (" in told[0]
    assert all("cannot be used" in line for line in told[1:3])
    assert "is not there" in told[3]
    assert "did you mean timeout_ms?" in told[4]
    assert all(line.startswith("the arguments cannot be JSON: ") for line in told[5:]), told
    assert "of the program" in told[5]


def test_a_stack_trace_shows_no_password(sandbox: Sandbox, prefix: Path) -> None:
    [trace] = php(
        sandbox,
        prefix,
        """
        try {
            Takings\\Client::fromConfig(['password' => 'hush', 'x' => 1], $prefix);
        } catch (Takings\\InvalidInput $error) {
            ob_start();
            var_dump($error->getTrace());
            $told[] = ob_get_clean();
        }
        """,
    )
    assert "SensitiveParameterValue" in trace
    assert "hush" not in trace


def test_a_page_captures_where_the_file_is_preloaded(
    sandbox: Sandbox, prefix: Path, tmp_path: Path
) -> None:
    """PHP's own web server, which is as strict about the FFI as the others."""
    order = sandbox.order(LOST)
    (tmp_path / "page.php").write_text(
        f"""<?php
        $client = Takings\\Client::fromEnvironment('{prefix}');
        echo $client->capture('{order}', ['captured_amount' => 6], 'a-key')->capture_id;
        """
    )
    [ini] = [rest.split("```")[0] for rest in README.split("```ini\n")[1:]]
    settings = [line.replace(" = ", "=") for line in ini.splitlines()]
    places = {
        "/srv/shop/Takings.php": str(FOLDER / "Takings.php"),
        "www-data": pwd.getpwuid(os.geteuid()).pw_name,
    }
    for there, here in places.items():
        settings = [line.replace(there, here) for line in settings]
    # settings that PHP in a web server has by default
    settings += ["opcache.enable_cli=1", "display_errors=1"]
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    flags = [word for line in settings for word in ("-d", line)]
    serve = ["php", *flags, "-S", f"127.0.0.1:{port}", "-t", tmp_path]
    with Program(*serve, environment=account(sandbox), server=True):

        def page() -> str | None:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            try:
                connection.request("GET", "/page.php")
                return connection.getresponse().read().decode()
            except ConnectionRefusedError:
                return None
            finally:
                connection.close()

        said = until(page, what="the web server answers")
        [capture] = sandbox.ledger(order)
        assert said == capture["capture_id"]
        assert page() == said
