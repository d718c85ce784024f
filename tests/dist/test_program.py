"""The program takings, as it is given away: its archive, its wheel, how it runs as a service."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import only
from sbom import OLD_GLIBC
from support import ROOT, TARGET, Sandbox, run
from test_install import VERSION

UNIT = ROOT / "cli/service/takings-worker.service"
DOCKERFILE = ROOT / "cli/service/Dockerfile"


@pytest.fixture(scope="module")
def unpacked(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    run("tar", "-xzf", only(dist, "takings-cli-*.tar.gz"), "-C", folder, "--strip-components=1")
    return folder


@pytest.fixture(scope="module")
def environment(dist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a virtual environment with the wheel alone."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, symlinks=True)
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(folder / "bin/python"),
        "install",
        "--quiet",
    ]
    run(*pip, "--no-index", only(dist, "takings_cli-*.whl"))
    return folder / "bin"


def captures_a_file(program: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose answer is lost: the money moves once, against the program's own sandbox."""
    # The stand-in is the program itself.
    stand_in = folder / "sandbox"
    stand_in.write_text(f'#!/bin/sh\nexec "{program}" sandbox "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("TAKINGS_SANDBOX", str(stand_in))
    with Sandbox() as sandbox:
        order = sandbox.order({"fault": "lost_answer"})
        file = folder / "shipments.csv"
        file.write_text(f"order_id,reference,captured_amount\n{order},parcel-1,6000\n")
        said = run(
            program,
            *("capture-file", "--yes", "--first-ever", str(file)),
            KLARNA_BASE_URL=sandbox.url,
            KLARNA_USERNAME="sandbox",
            KLARNA_PASSWORD="sandbox",
            TAKINGS_LEDGER=str(folder / "ledger.db"),
        )
        assert said.startswith("captured 1 ")
        assert len(sandbox.ledger(order)) == 1


def test_the_archive_captures_a_file(
    unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(unpacked / "takings", "--version") == f"takings {VERSION}\n"
    captures_a_file(unpacked / "takings", tmp_path, monkeypatch)


def test_the_wheel_captures_a_file(
    environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captures_a_file(environment / "takings", tmp_path, monkeypatch)


def test_archive_and_wheel_have_one_program(unpacked: Path, environment: Path) -> None:
    assert (unpacked / "takings").read_bytes() == (environment / "takings").read_bytes()


def test_the_wheel_has_licences_and_a_bill_of_materials(dist: Path) -> None:
    with zipfile.ZipFile(only(dist, "takings_cli-*.whl")) as archive:
        names = {name.split(".dist-info/")[-1] for name in archive.namelist()}
        assert archive.testzip() is None
    licences = {f"licenses/LICENSE-{name}" for name in ("MIT", "APACHE", "THIRD-PARTY")}
    assert licences | {"METADATA", "RECORD", "WHEEL"} < names
    assert len([name for name in names if re.fullmatch(r"sboms/takings-.*\.cdx\.json", name)]) == 1


def test_the_wheel_runs_on_the_systems_that_it_names(dist: Path) -> None:
    wheel = only(dist, "takings_cli-*.whl")
    said = " ".join(run(TARGET / "venv/bin/auditwheel", "show", wheel).split())
    is_old = re.search(r'following platform tag: "manylinux_2_17_\w+"', said)
    # the program of `make build` is linked for this system
    assert is_old or "TAKINGS_DIST" not in os.environ or not OLD_GLIBC, said


def test_the_extra_of_the_python_package_names_it() -> None:
    [wanted] = re.findall(
        r'^ledger = \["takings-cli>=(.*),<1"\]$',
        (ROOT / "python/pyproject.toml").read_text(),
        re.MULTILINE,
    )
    assert wanted == VERSION
    assert 'name = "takings-cli"' in (ROOT / "cli/pyproject.toml").read_text()


def setting(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), re.MULTILINE)


def test_the_unit_is_one_for_systemd(tmp_path: Path) -> None:
    """cli/service/takings-worker.service, by systemd's own checker where there is one."""
    [stop] = setting("TimeoutStopSec")
    assert int(stop) >= 70
    assert (setting("KillSignal"), setting("Restart")) == (["SIGTERM"], ["always"])
    assert len(setting("LoadCredential")) == 2
    if shutil.which("systemd-analyze"):
        # systemd complains about programs that are not installed.
        unit = tmp_path / UNIT.name
        unit.write_text(UNIT.read_text().replace("/usr/local/bin/takings", "/bin/true"))
        check = ["systemd-analyze", "verify", str(unit)]
        # Its complaints go to the standard error, also with exit code 0.
        done = subprocess.run(check, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_s_command_reads_the_credentials(tmp_path: Path) -> None:
    [command] = setting("ExecStart")
    script = re.fullmatch(r"/bin/sh -euc '(.*)'", command)
    assert script
    (tmp_path / "username").write_text("K123_abc\n")
    (tmp_path / "password").write_text("a$b 'c\"\n")
    typed = script[1].replace("$$", "$").replace("/usr/local/bin/takings worker", "env")
    said = run("/bin/sh", "-euc", typed, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert {"KLARNA_USERNAME=K123_abc", "KLARNA_PASSWORD=a$b 'c\""} <= set(said.splitlines())


def test_the_dockerfile_copies_what_there_is() -> None:
    """cli/service/Dockerfile; no image is built, since no daemon of docker runs here."""
    text = DOCKERFILE.read_text()
    assert "cargo build --release --locked --package takings-cli" in text
    assert "/takings/target/release/takings /usr/local/bin/takings" in text
    assert "ca-certificates" in text
    assert re.search(r"^USER \d+", text, re.MULTILINE)
    [stop] = re.findall(r"--stop-timeout (\d+)", text)
    assert int(stop) >= 70
    assert "target" in DOCKERFILE.with_name("Dockerfile.dockerignore").read_text().split()
