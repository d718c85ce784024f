//! A PostgreSQL server for the tests of one program: in a folder of its own, reached by a socket in it. The server ends
//! with the program, however that ends, and the folder goes with it.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The server, made by the first test that asks.
pub struct Cluster {
    folder: PathBuf,
    /// Its input ends with this program, and then it stops the server.
    _keeper: Child,
    databases: AtomicU32,
}

/// The folder of the server's programs: Debian keeps them out of `PATH`.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut versions: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .filter(|(_, path)| path.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().map(|(_, path)| path).unwrap_or_else(|| {
        let paths = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&paths)
            .find(|path| path.join("initdb").exists())
            .expect("PostgreSQL's initdb: `make setup` installs the package postgresql")
    })
}

/// PostgreSQL does not run as root, but as the user that Debian's package makes.
fn user() -> Option<(u32, u32)> {
    if std::fs::metadata("/proc/self").expect("this is a Linux").uid() != 0 {
        return None;
    }
    let number = |option: &str| -> u32 {
        let output = Command::new("id").args([option, "postgres"]).output().expect("id runs");
        String::from_utf8_lossy(&output.stdout).trim().parse().expect("the package postgresql makes the user postgres")
    };
    Some((number("-u"), number("-g")))
}

fn as_user(program: &Path, user: Option<(u32, u32)>, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    if let Some((uid, gid)) = user {
        command.uid(uid).gid(gid);
    }
    command
}

impl Cluster {
    /// The server of this program.
    pub fn get() -> &'static Cluster {
        static CLUSTER: OnceLock<Cluster> = OnceLock::new();
        CLUSTER.get_or_init(Cluster::start)
    }

    fn start() -> Cluster {
        let folder = tempfile::Builder::new().prefix("takings-pg-").tempdir().expect("a folder").keep();
        let (bin, user) = (programs(), user());
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700)).expect("its mode");
        if let Some((uid, gid)) = user {
            chown(&folder, Some(uid), Some(gid)).expect("its owner");
        }
        let data = folder.join("data");
        let made = as_user(&bin.join("initdb"), user, &folder)
            .args(["--no-sync", "--auth=trust", "--username=owner", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .output()
            .expect("initdb runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let socket = folder.display();
        let options =
            format!("-c listen_addresses= -c unix_socket_directories={socket} -c fsync=off -c max_connections=200");
        let started = as_user(&bin.join("pg_ctl"), user, &folder)
            .args(["start", "--wait", "--silent", "--pgdata"])
            .arg(&data)
            .arg("--log")
            .arg(folder.join("log"))
            .args(["--options", &options])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("pg_ctl runs");
        assert!(started.success(), "{}", std::fs::read_to_string(folder.join("log")).unwrap_or_default());
        let keeper = as_user(Path::new("/bin/sh"), user, &folder)
            .args(["-c", "trap '' INT TERM; cat >/dev/null; \"$0\" stop --mode=immediate --silent --pgdata \"$1\"; cd /; rm -rf \"$2\""])
            .arg(bin.join("pg_ctl"))
            .arg(&data)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh runs");
        let cluster = Cluster { folder, _keeper: keeper, databases: AtomicU32::new(0) };
        cluster.run("postgres", "CREATE DATABASE template_ledger");
        takings_ledger::postgres::Postgres::init(&cluster.url("template_ledger"), true).expect("the tables");
        cluster
    }

    /// The URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("host={} user=owner dbname={database}", self.folder.display())
    }

    /// A connection of a shop.
    pub fn shop(&self, database: &str) -> postgres::Client {
        postgres::Client::connect(&self.url(database), postgres::NoTls).expect("the server answers")
    }

    /// Runs statements.
    pub fn run(&self, database: &str, sql: &str) {
        self.shop(database).batch_execute(sql).expect(sql);
    }

    /// A new database with the tables of a ledger that vouches for its rows. Gives its name.
    pub fn database(&self) -> String {
        let name = format!("ledger_{}", self.databases.fetch_add(1, Ordering::SeqCst));
        // A template cannot be copied twice at once.
        for _ in 0..200 {
            let made = self.shop("postgres").batch_execute(&format!("CREATE DATABASE {name} TEMPLATE template_ledger"));
            match made {
                Ok(()) => return name,
                Err(why) if why.code() == Some(&postgres::error::SqlState::OBJECT_IN_USE) => {
                    std::thread::sleep(Duration::from_millis(100));
                }
                Err(why) => panic!("{why:?}"),
            }
        }
        panic!("the template is in use for 20 s");
    }
}
