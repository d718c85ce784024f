//! Code that the tests share: the built library, the compilers, and programs that must end.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("ffi-c lies in the repository")
}

/// The folder with libtakings.so and libtakings.a, built from the present code. Cargo does not build them for tests,
/// since no test links them. The arguments are those of `make build`: others would choose other features of shared
/// crates and build those again.
pub fn built() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        // A test runs as <target>/<profile>/deps/<test>.
        let test = std::env::current_exe().expect("the path of this test");
        let profile = test.ancestors().nth(2).expect("a profile's folder");
        let target = profile.parent().expect("the target folder");
        let name = match profile.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        Run::new(env!("CARGO"))
            .args(["build", "--quiet", "--lib", "--bins", "--examples", "--profile", name, "--target-dir"])
            .arg(target)
            .ok();
        profile.to_owned()
    })
}

/// A folder of its own, removed at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new() -> Folder {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("takings-c-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder for the test");
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The shared library under the name programs ask for when they start.
    pub fn with_library(self) -> Folder {
        std::os::unix::fs::symlink(built().join("libtakings.so"), self.0.join("libtakings.so.1"))
            .expect("a link to the library");
        self
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Left over at worst, in the target folder.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The longest that a program may run, on however busy a machine. Valgrind takes forty times as long as the program, and
/// a dozen compilers share the processors.
const PATIENCE: Duration = Duration::from_secs(900);

/// A program to run, which must end in time.
pub struct Run {
    command: Command,
    shown: String,
}

pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Run {
    pub fn new(program: impl AsRef<OsStr>) -> Run {
        let mut command = Command::new(&program);
        command.current_dir(root()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // The tests must not use the proxies of the machine.
        for name in ["HTTPS_PROXY", "https_proxy", "NO_PROXY", "no_proxy"] {
            command.env_remove(name);
        }
        // Build scripts depend on these variables. With those of this package cargo would build ring and all above it
        // again.
        for (name, _) in std::env::vars_os() {
            if ["CARGO_MANIFEST_", "CARGO_PKG_", "OUT_DIR"]
                .iter()
                .any(|start| name.to_string_lossy().starts_with(start))
            {
                command.env_remove(name);
            }
        }
        Run { command, shown: program.as_ref().to_string_lossy().into() }
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Run {
        self.shown = format!("{} {}", self.shown, arg.as_ref().to_string_lossy());
        self.command.arg(arg);
        self
    }

    pub fn args<S: AsRef<OsStr>>(self, args: impl IntoIterator<Item = S>) -> Run {
        args.into_iter().fold(self, Run::arg)
    }

    pub fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Run {
        self.command.env(name, value);
        self
    }

    /// Runs it to its end; a program that cannot be started or does not end fails the test.
    pub fn end(mut self) -> Ended {
        let mut child = self.command.spawn().unwrap_or_else(|error| {
            panic!("{} cannot be started ({error}); `make test` installs what the tests need", self.shown)
        });
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let status = wait(&mut child, &self.shown);
        let text = |reader: thread::JoinHandle<Vec<u8>>| {
            String::from_utf8_lossy(&reader.join().expect("a reader does not panic")).into_owned()
        };
        Ended { status, stdout: text(stdout), stderr: text(stderr) }
    }

    /// Runs it; it must succeed. Returns what it printed.
    pub fn ok(self) -> String {
        let shown = self.shown.clone();
        let ended = self.end();
        assert!(ended.status.success(), "{shown}\n{}\n{}{}", ended.status, ended.stdout, ended.stderr);
        ended.stdout
    }
}

fn drain(source: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    let mut source = source.expect("it was piped");
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // The output before a broken pipe helps to find the fault.
        let _ = source.read_to_end(&mut bytes);
        bytes
    })
}

fn wait(child: &mut Child, shown: &str) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return status;
        }
        if start.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{shown} did not end within {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn tool(variable: &str, default: &str) -> OsString {
    std::env::var_os(variable).filter(|value| !value.is_empty()).unwrap_or_else(|| default.into())
}

const STRICT: [&str; 5] = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-g"];

/// The C compiler with the header in reach and every warning an error.
pub fn cc(standard: &str) -> Run {
    Run::new(tool("CC", "cc")).arg(format!("-std={standard}")).args(STRICT).arg("-Iinclude")
}

/// The same for C++.
pub fn cxx(standard: &str) -> Run {
    Run::new(tool("CXX", "c++")).arg(format!("-std={standard}")).args(STRICT).arg("-Iinclude")
}

impl Run {
    /// Links with the shared library; `folder` is where the program finds it when it runs.
    pub fn shared(self, folder: &Folder) -> Run {
        let mut rpath = OsString::from("-Wl,-rpath,");
        rpath.push(folder.path());
        self.arg("-L").arg(built()).args(["-ltakings", "-lpthread"]).arg(rpath)
    }

    /// Links with the static library.
    pub fn fixed(self) -> Run {
        self.arg(built().join("libtakings.a")).args(["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"])
    }
}
