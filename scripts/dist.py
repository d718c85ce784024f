"""Makes all packages for the platform it runs on; `make dist` calls it.

    scripts/dist.py                      optimised, for old systems, judged, into dist/
    scripts/dist.py --wheel              the wheel alone: for a Python that needs one of its own
    scripts/dist.py --as-built FOLDER    of what `make build` and `make library` left: for tests of
                                         what is in the packages, which then need no second build

It takes a Rust toolchain, a C compiler and scripts/requirements.txt.
"""

from __future__ import annotations

import argparse
import base64
import gzip
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import sbom

ROOT = sbom.ROOT
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
HOST = sbom.host()["host"]
REPOSITORY = re.findall(r'^repository = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[
    0
]
VERSION = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]
LUAS = ["5.1", "5.2", "5.3", "5.4", "jit"]
WINDOWS = "windows" in HOST
OLD_GLIBC = sbom.OLD_GLIBC
# Of the crates; here, as the wheel takes its licences from beside its pyproject.toml.
THIRD_PARTY = ROOT / "python" / "LICENSE-THIRD-PARTY"
# How many bytes a file may have, by its name; the first pattern that fits counts.
LIMITS = {
    # The sandbox is inside.
    r"/_takings\.[^/]*$": 7_000_000,
    rf"\.(so|so\.{re.escape(VERSION)}|dylib|dll|pyd)$": 5_000_000,
    # Two databases are inside: SQLite as a whole, and what speaks with PostgreSQL.
    r"^takings_cli-[^/:]*\.whl$": 5_000_000,
    r"^takings[^/:]*\.whl$": 3_500_000,
}


def run(*command: str | Path, **environment: str) -> None:
    subprocess.run(command, cwd=ROOT, check=True, env={**os.environ, **environment})


# --- building -----------------------------------------------------------------------------------


def registry() -> list[Path]:
    """Where cargo unpacked the sources of the crates."""
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    run("cargo", "fetch", "--quiet", "--locked", "--target", HOST)
    return sorted((home / "registry" / "src").iterdir())


def build(target: Path, made: Path, wheel_only: bool) -> None:
    """Builds what is released, in a folder of its own: other flags make other crates."""
    # Panics name the place in the sources: not where those were on the machine that built it.
    renamed = {**dict.fromkeys(map(str, registry()), "crates"), str(target): "target"}
    flags = os.environ.get("RUSTFLAGS", "").split()
    flags += [f"--remap-path-prefix={place}={name}" for place, name in renamed.items()]
    environment = {
        "CARGO_TARGET_DIR": str(target),
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join(flags),
        "SOURCE_DATE_EPOCH": str(sbom.last_commit()),
    }
    promise = []
    if OLD_GLIBC:
        linker = f"CARGO_TARGET_{HOST.upper().replace('-', '_')}_LINKER"
        environment[linker] = str(ROOT / "scripts" / "cc-for-old-glibc")
        environment[f"CC_{HOST.replace('-', '_')}"] = environment[linker]
        # the linker's `python` is this one
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        promise = ["--compatibility", "manylinux_2_17"]

    wheel = ["--interpreter", sys.executable, "--manifest-path", "python/Cargo.toml"]
    wheel += ["--sbom-include", str(made / bill_name()), "--out", str(made)]
    maturin = [sys.executable, "-m", "maturin", "build", "--release", "--locked"]
    run(*maturin, *promise, *wheel, **environment)
    if wheel_only:
        return
    if not WINDOWS:
        program = ["--manifest-path", "cli/Cargo.toml", *wheel[4:]]
        run(*maturin, *promise, *program, **environment)
    native = f"native-static-libs={target / 'release' / 'native-static-libs'}"
    cargo = ["cargo", "rustc", "--release", "--locked", "--package"]
    run(*cargo, "takings-c", "--lib", "--", "--print", native, **environment)
    run(*cargo, "takings-sandbox", "--bin", "takings-sandbox", **environment)
    for lua in [] if WINDOWS else LUAS:
        module = target / "lua" / lua
        run("sh", "lua/build.sh", "--release", "--into", module, lua, **environment)


def uncommitted() -> str:
    """The differences from the last commit; empty where there is no git."""
    git = ["git", "status", "--porcelain"]
    return subprocess.run(git, cwd=ROOT, capture_output=True, text=True, check=False).stdout


# --- packing ------------------------------------------------------------------------------------


def program_wheel(program: Path, into: Path) -> None:
    """The wheel of the program as it was built, with the metadata that maturin would give it."""
    with tempfile.TemporaryDirectory() as folder:
        info = ["--metadata-directory", folder, "--manifest-path", "cli/Cargo.toml", "--offline"]
        run(sys.executable, "-m", "maturin", "pep517", "write-dist-info", *info)
        [facts] = Path(folder).iterdir()
        name = facts.name.removesuffix(".dist-info")
        tags = re.findall(r"^Tag: (.*)$", (facts / "WHEEL").read_text(), re.MULTILINE)
        put(TARGET / "takings.cdx.json", facts / "sboms" / bill_name())
        scripts = Path(folder, f"{name}.data", "scripts")
        put(program, scripts / "takings")
        record = facts / "RECORD"
        lines = []
        with zipfile.ZipFile(into / f"{name}-{tags[0]}.whl", "w") as archive:
            for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
                digest = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest())
                inside = path.relative_to(folder).as_posix()
                size = path.stat().st_size
                lines.append(f"{inside},sha256={digest.rstrip(b'=').decode()},{size}\n")
                archive.write(path, inside)
            inside = record.relative_to(folder).as_posix()
            archive.writestr(inside, "".join([*lines, f"{inside},,\n"]))


def oldest_glibc(*binaries: Path) -> str:
    """The oldest glibc that has all which these ask for."""
    asked = {
        tuple(map(int, version.split(b".")))
        for binary in binaries
        for version in re.findall(rb"GLIBC_(\d+\.\d+(?:\.\d+)?)\0", binary.read_bytes())
    }
    return ".".join(map(str, max(asked)))


def platform_name(*binaries: Path) -> str:
    machine = HOST.split("-")[0]
    if OLD_GLIBC:
        return f"linux-{machine}-glibc{oldest_glibc(*binaries)}"
    system = {"darwin": "macos", "windows": "windows"}.get(HOST.split("-")[2], "linux")
    return f"{system}-{machine}" + ("-musl" if HOST.endswith("musl") else "")


def bill_name() -> str:
    return f"takings-{VERSION}-{HOST}.cdx.json"


def tarball(folder: Path, into: Path, level: int) -> None:
    """The same files give the same bytes, whoever packs them and when."""

    def nobodys(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        member.mtime = sbom.last_commit()
        executable = member.isdir() or member.mode & 0o100
        member.mode = 0o755 if executable else 0o644
        return member

    unpacked = io.BytesIO()
    with tarfile.open(fileobj=unpacked, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path in [folder, *sorted(folder.rglob("*"))]:
            name = str(path.relative_to(folder.parent))
            tar.add(path, name, recursive=False, filter=nobodys)
    into.write_bytes(gzip.compress(unpacked.getvalue(), level, mtime=0))


def put(source: Path, into: Path) -> None:
    into.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, into)


def put_readme(source: Path, into: Path) -> None:
    """A page of the repository, with absolute links, so that they work from any folder."""

    def absolute(link: re.Match[str]) -> str:
        path, mark, part = link[1].partition("#")
        if not path or "://" in path:
            return link[0]
        place = (source.parent / path).resolve()
        kind = "tree" if place.is_dir() else "blob"
        return f"]({REPOSITORY}/{kind}/main/{place.relative_to(ROOT)}{mark}{part})"

    into.parent.mkdir(parents=True, exist_ok=True)
    text = re.sub(r"\]\(([^)\s]+)\)", absolute, source.read_text(encoding="utf-8"))
    into.write_text(text, encoding="utf-8", newline="\n")


def put_examples(into: Path, *names: str) -> None:
    for name in names:
        source = ROOT / "examples" / name
        for path in source.rglob("*") if source.is_dir() else [source]:
            if path.is_file():
                put(path, into / "examples" / path.relative_to(ROOT / "examples"))


def pack(target: Path, made: Path, profile: str, level: int) -> None:
    """The C library, the Lua modules, both programs, each as a folder that can be put anywhere."""
    sandbox = target / profile / ("takings-sandbox.exe" if WINDOWS else "takings-sandbox")
    modules = {} if WINDOWS else {lua: target / "lua" / lua / "takings.so" for lua in LUAS}
    programs = [] if WINDOWS else [target / profile / "takings"]
    library = target / "release" / "libtakings.so"
    binaries = [sandbox, library, *modules.values(), *programs]
    place = platform_name(*binaries) if OLD_GLIBC else platform_name()
    licences = [ROOT / "LICENSE-MIT", ROOT / "LICENSE-APACHE", THIRD_PARTY]

    with tempfile.TemporaryDirectory() as folder:
        c, lua_, sandbox_, cli = (
            Path(folder, f"takings-{part}-{VERSION}-{place}")
            for part in ("c", "lua", "sandbox", "cli")
        )
        destination = {"DESTDIR": folder, "PREFIX": f"/{c.name}", "LIBDIR": "lib"}
        install = [shutil.which("bash") or "bash", "ffi-c/install.sh", "install"]
        run(*install, CARGO_TARGET_DIR=str(target), **destination)
        put_readme(ROOT / "ffi-c" / "README.md", c / "share/doc/takings/README.md")
        hosts = [f"hosts/{host}" for host in ("c-threads", "cmake", "cobol", "libcurl", "php")]
        put_examples(c / "share/doc/takings", "capture.c", "capture.cpp", *hosts)

        put(sandbox, sandbox_ / sandbox.name)
        for lua, module in modules.items():
            put(module, lua_ / lua / "takings.so")
        put_readme(ROOT / "sandbox" / "README.md", sandbox_ / "README.md")
        put_readme(ROOT / "lua" / "README.md", lua_ / "README.md")
        put_examples(lua_, "capture.lua", "json.lua", "hosts/lua", "hosts/nginx")
        put(ROOT / "lua" / "takings.d.lua", lua_ / "takings.d.lua")
        for program in programs:
            put(program, cli / program.name)
        put_readme(ROOT / "cli" / "README.md", cli / "README.md")
        for name in ("takings-worker.service", "Dockerfile"):
            put(ROOT / "cli" / "service" / name, cli / "service" / name)
        more = [*([lua_] if modules else []), *([cli] if programs else [])]
        for package in [c, sandbox_, *more]:
            documents = package / "share/doc/takings" if package == c else package
            for licence in licences:
                put(licence, documents / licence.name)
            tarball(package, made / f"{package.name}.tar.gz", level)


def sources(made: Path, target: Path, *flags: str) -> None:
    epoch = {"SOURCE_DATE_EPOCH": str(sbom.last_commit()), "CARGO_TARGET_DIR": str(target)}
    maturin = [sys.executable, "-m", "maturin", "sdist"]
    run(*maturin, "--manifest-path", "python/Cargo.toml", "--out", made, **epoch)
    run("cargo", "package", "--quiet", "--locked", "--package", "takings", *flags, **epoch)
    put(target / "package" / f"takings-{VERSION}.crate", made / f"takings-{VERSION}.crate")


def sums(folder: Path) -> None:
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
    ]
    (folder / "SHA256SUMS").write_text("".join(lines), newline="\n")


# --- judging ------------------------------------------------------------------------------------


def contents(path: Path) -> Iterator[tuple[str, bytes]]:
    """The file, and what is packed in it."""
    yield path.name, path.read_bytes()
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield f"{path.name}: {name}", archive.read(name)
    elif path.suffix in (".gz", ".crate"):
        with tarfile.open(path) as tar:
            for member in tar.getmembers():
                file = tar.extractfile(member)
                if member.isfile() and file is not None:
                    yield f"{path.name}: {member.name}", file.read()


def limit_of(name: str) -> float:
    return next(
        (limit for pattern, limit in LIMITS.items() if re.search(pattern, name)), float("inf")
    )


def too_large(folder: Path) -> list[str]:
    return [
        f"{name} has {len(content):,} bytes; it may have {limit_of(name):,}"
        for path in sorted(folder.iterdir())
        for name, content in contents(path)
        if len(content) > limit_of(name)
    ]


def telling(folder: Path, *places: str) -> list[str]:
    """Texts that would show where a file was built."""
    return [
        f"{name} names {place}"
        for path in sorted(folder.iterdir())
        for name, content in contents(path)
        for place in places
        if place.encode() in content
    ]


# ------------------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description="Makes the packages.", allow_abbrev=False)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--wheel", action="store_true")
    what.add_argument("--as-built", metavar="FOLDER", type=Path)
    arguments = parser.parse_args()
    wanted: Path | None = arguments.as_built
    if wanted is not None and wanted.exists():
        parser.error(f"{wanted} is there; a new folder is wanted")
    into = wanted or ROOT / "dist"
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        if wanted is None:
            if changed := uncommitted():
                sys.exit(f"scripts/dist.py packs what is committed, and this is not:\n{changed}")
            run(sys.executable, "scripts/sbom.py", made / bill_name())
            run(sys.executable, "scripts/licences.py", made / bill_name(), THIRD_PARTY)
            target = TARGET / "dist"
            build(target, made, arguments.wheel)
            if not arguments.wheel:
                pack(target, made, "release", level=9)
                sources(made, target)
            places = [str(ROOT), str(target), *(place.name for place in registry())]
            places += [str(place.parent) for place in registry()]
            wrong = too_large(made) + telling(made, *places)
            if wrong:
                sys.exit("\n".join(["scripts/dist.py:", *wrong]))
        else:
            for wheel in (TARGET / "wheel").glob("takings-*.whl"):
                put(wheel, made / wheel.name)
            put(TARGET / "takings.cdx.json", made / bill_name())
            program_wheel(TARGET / "debug" / "takings", made)
            # large, and gone in a minute
            pack(TARGET, made, "debug", level=0)
            sources(made, TARGET, "--no-verify", "--allow-dirty")
        sums(made)
        shutil.rmtree(into, ignore_errors=True)
        for path in made.iterdir():
            put(path, into / path.name)
    for path in sorted(into.iterdir()):
        print(f"{path.stat().st_size:>12,}  {path.name}")


if __name__ == "__main__":
    main()
