"""celery's prefork pool, with folders for a broker."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import broker
from parcels import HOSTS, LOST, account
from support import HERE, Program, Sandbox, until

BROKER = """
import broker
broker_url = broker.URL
broker_transport_options = {options}
"""


def the_one_that_calls(worker: int, sandbox: Sandbox) -> int:
    """The process with a connection to the sandbox. Another one, which waits for a job, holds a
    lock of the pool that nobody would ever give back."""
    port = f":{int(sandbox.url.rpartition(':')[2]):04X}"
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    connections = {f"socket:[{each[9]}]" for each in sockets if each[2].endswith(port)}
    children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
    [calls] = [
        int(child)
        for child in children
        if any(
            os.readlink(file) in connections
            for file in Path(f"/proc/{child}/fd").iterdir()
            if file.is_symlink()
        )
    ]
    return calls


def test_each_job_captures_once(sandbox: Sandbox, tmp_path: Path) -> None:
    from celery import Celery

    options = broker.options(tmp_path / "broker")
    # This file is found before that of the example.
    (tmp_path / "celeryconfig.py").write_text(BROKER.format(options=options))
    producer = Celery("test", broker=broker.URL)
    producer.conf.broker_transport_options = options

    faults = [[], [LOST], [LOST, LOST, LOST, LOST], [{"fault": "status", "status": 503}]]
    orders = [sandbox.order(*each) for each in faults]
    poor = sandbox.order(order_amount=5)
    killed = sandbox.order({"fault": "delay", "seconds": 5})
    log = tmp_path / "log"
    with (
        log.open("w") as stderr,
        Program(
            sys.executable,
            *("-m", "celery", "-A", "jobs", "worker", "--pool", "prefork", "--concurrency", "2"),
            *("--without-gossip", "--without-mingle", "--without-heartbeat"),
            environment={
                **account(sandbox),
                "PYTHONPATH": f"{tmp_path}:{HOSTS / 'celery'}:{HERE}",
                "HOME": str(tmp_path),
            },
            server=True,
            stderr=stderr,
            cwd=tmp_path,
        ) as program,
    ):
        # A process of the pool is killed while its request is on the way.
        producer.send_task("ship", args=[killed, "parcel-1", "60.00", "EUR"])
        until(lambda: sandbox.requests(killed), 30, "the request")
        os.kill(the_one_that_calls(program.process.pid, sandbox), signal.SIGKILL)
        for order_id in (*orders, poor, *orders):
            # each twice: a queue may deliver a job again
            producer.send_task("ship", args=[order_id, "parcel-1", "60.00", "EUR"])
        until(lambda: all(map(sandbox.ledger, orders)), 60, "the captures")
        until(lambda: len(sandbox.requests(killed)) > 1, 60, "the job that is done again")
        until(lambda: not list((tmp_path / "broker/queue").iterdir()), 60, "the end of the queue")
        program.process.terminate()
        program.process.wait(timeout=120)
    producer.close()
    for order_id in (*orders, killed):
        [entry] = sandbox.ledger(order_id)
        assert (entry["captured_amount"], entry["reference"]) == (6000, "parcel-1")
    assert sandbox.ledger(poor) == []
    assert "CAPTURE_NOT_ALLOWED" in log.read_text()
