//! Where the ledger is, and where its requests go.

use std::path::{Path, PathBuf};

use takings::{Client, Config, Credentials};
use takings_ledger::sqlite::{Options, Sqlite};

use crate::say::Failure;

/// The one account of a ledger in a file: another merchant has a file of its own.
pub const ACCOUNT: &str = "default";

/// The ledger's path: as given, else that of the variable, else a place for this user's programs.
pub fn path(given: Option<&Path>) -> Result<PathBuf, Failure> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(".local/state"));
    let folder = || variable("XDG_STATE_HOME").or_else(home).map(|folder| folder.join("takings"));
    given
        .map(Path::to_owned)
        .or_else(|| variable("TAKINGS_LEDGER"))
        .or_else(|| variable("STATE_DIRECTORY").or_else(folder).map(|folder| folder.join("ledger.db")))
        .ok_or_else(|| Failure::new("where is the ledger? Give --ledger FILE, or set TAKINGS_LEDGER"))
}

/// Opens the ledger, and makes it if it is missing. Says whether it is new.
pub fn make(path: &Path, first_ever: bool) -> Result<(Sqlite, bool), Failure> {
    let is_new = !path.exists();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        let mut maker = std::fs::DirBuilder::new();
        maker.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut maker, 0o700);
        maker.create(folder).map_err(|why| Failure::new(format!("the folder {}: {why}", folder.display())))?;
    }
    Ok((Sqlite::open(path, Options { first_ever, ..Options::default() })?, is_new))
}

/// Opens the ledger that is there.
pub fn open(path: &Path) -> Result<Sqlite, Failure> {
    if !path.exists() {
        return Err(Failure::new(format!(
            "there is no ledger at {}; `takings init` makes one, --ledger or TAKINGS_LEDGER names another",
            path.display()
        )));
    }
    Ok(make(path, false)?.0)
}

/// Where requests go, and whose they are.
pub struct Klarna {
    pub config: Config,
    pub base_url: String,
    /// The merchant's id: the first part of the user name that Klarna gave out.
    pub merchant: String,
}

/// Reads the environment.
pub fn klarna() -> Result<Klarna, Failure> {
    let config =
        Config::from_env().map_err(|error| Failure::new(format!("{}; see takings help worker", error.message())))?;
    let config = config.surface("cli");
    let base_url = Client::new(config.clone())?.base_url().to_owned();
    let username = std::env::var("KLARNA_USERNAME").unwrap_or_default();
    let merchant = match username.split_once('_') {
        Some((merchant, _)) => merchant.to_owned(),
        None if username.is_empty() => "the merchant of the API key".to_owned(),
        None => username,
    };
    Ok(Klarna { config, base_url, merchant })
}

/// A client that checks requests and sends none: with the settings of the environment, where there are some.
pub fn checker() -> Result<Client, Failure> {
    let nobody = || Config::at("http://127.0.0.1:9", Credentials::basic("nobody", "nothing"));
    let config = Config::from_env().unwrap_or_else(|_| nobody());
    Ok(Client::new(config.surface("cli"))?)
}
