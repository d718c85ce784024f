//! Where the ledger is, where its requests go, and whose they are.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Map, Value};
use takings::{Client, Config, Credentials};
use takings_ledger::office::Office;
use takings_ledger::postgres::{self, Postgres};
use takings_ledger::sqlite::{self, Options, Sqlite};

use crate::say::Failure;

/// The account whose credentials are in the environment.
pub const ACCOUNT: &str = "default";

/// A secret is short. A larger file is another one.
const LARGEST: u64 = 4096;

/// The fields of an account that say where a credential is.
const PLACES: [&str; 3] = ["username", "password", "api_key"];

fn variable(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The flags that each command takes.
#[derive(Clone, Debug, Default)]
pub struct Where {
    pub ledger: Option<PathBuf>,
    pub config: Option<PathBuf>,
    pub account: Option<String>,
}

/// Where the ledger is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file, by SQLite.
    File(PathBuf),
    /// A database of PostgreSQL, by its URL.
    Database(String),
}

impl fmt::Display for Place {
    /// Without a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::File(path) => path.display().fmt(f),
            Place::Database(url) => f.write_str(&postgres::shown(url)),
        }
    }
}

impl Place {
    /// A path or a URL. The words are not repeated: they may hold a password.
    fn of(given: PathBuf) -> Result<Place, Failure> {
        let text = given.to_string_lossy();
        if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) {
            return Ok(Place::Database(text.into_owned()));
        }
        match ["://", "host=", "hostaddr=", "dbname=", "password="].iter().any(|part| text.contains(part)) {
            true => Err(Failure::new(
                "a ledger is the path of a file, or a URL like postgres://user@host/database with the password in the \
                 variable PGPASSWORD; what was given is neither",
            )),
            false => Ok(Place::File(given)),
        }
    }

    /// Whether there may be a ledger. Only the file can be looked for without a connection.
    pub fn is_there(&self) -> bool {
        match self {
            Place::File(path) => path.exists(),
            Place::Database(_) => true,
        }
    }
}

/// A ledger, whichever engine it has.
pub type Ledger = Box<dyn Office>;

impl Where {
    /// The ledger: as given, else that of the variable, else a file in a place for this user's programs.
    pub fn ledger(&self) -> Result<Place, Failure> {
        let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(".local/state"));
        let folder = || variable("XDG_STATE_HOME").or_else(home).map(|folder| folder.join("takings"));
        self.ledger
            .clone()
            .or_else(|| variable("TAKINGS_LEDGER"))
            .or_else(|| variable("STATE_DIRECTORY").or_else(folder).map(|folder| folder.join("ledger.db")))
            .ok_or_else(|| Failure::new("where is the ledger? Give --ledger FILE or URL, or set TAKINGS_LEDGER"))
            .and_then(Place::of)
    }

    /// The account of a command that is about one.
    pub fn account(&self) -> &str {
        self.account.as_deref().unwrap_or(ACCOUNT)
    }

    /// The file of the accounts: as given, else one in the usual places, if there is one.
    fn file(&self) -> Result<Option<PathBuf>, Failure> {
        if let Some(path) = self.config.clone().or_else(|| variable("TAKINGS_CONFIG")) {
            return match path.exists() {
                true => Ok(Some(path)),
                false => Err(Failure::new(format!("there is no file {}", path.display()))),
            };
        }
        let beside = match self.ledger() {
            Ok(Place::File(path)) => path.parent().map(Path::to_owned),
            _ => None,
        };
        let folders = variable("CONFIGURATION_DIRECTORY").into_iter().chain(beside);
        Ok(folders.map(|folder| folder.join("takings.toml")).find(|path| path.exists()))
    }

    pub fn accounts(&self) -> Result<Accounts, Failure> {
        match self.file()? {
            None => Ok(Accounts { file: PathBuf::new(), written: BTreeMap::new() }),
            Some(path) => {
                let text =
                    std::fs::read_to_string(&path).map_err(|why| Failure::new(format!("{}: {why}", path.display())))?;
                Accounts::read(path, &text)
            }
        }
    }

    /// Where the requests of the account go, and whose they are.
    pub fn klarna(&self) -> Result<Klarna, Failure> {
        self.accounts()?.klarna(self.account())
    }
}

/// Opens the ledger, and makes a file that is missing. Says whether it is new. The tables of a database are made by
/// `takings init` alone, as their owner.
pub fn make(place: &Place, first_ever: bool) -> Result<(Ledger, bool), Failure> {
    let path = match place {
        Place::Database(url) => return Ok((Box::new(Postgres::open(url)?), false)),
        Place::File(path) => path,
    };
    let is_new = !path.exists();
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) {
        let mut maker = std::fs::DirBuilder::new();
        maker.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut maker, 0o700);
        maker.create(folder).map_err(|why| Failure::new(format!("the folder {}: {why}", folder.display())))?;
    }
    Ok((Box::new(Sqlite::open(path, Options { first_ever, ..Options::default() })?), is_new))
}

/// The roles of a database.
#[derive(Debug, Default)]
pub struct Roles {
    pub shop: Option<String>,
    pub worker: Option<String>,
}

impl Roles {
    fn none(&self) -> Result<(), Failure> {
        match (&self.shop, &self.worker) {
            (None, None) => Ok(()),
            _ => Err(Failure::new("a file has no roles: --shop-role and --worker-role are for PostgreSQL")),
        }
    }
}

/// Makes the tables, if there are none.
pub fn init(place: &Place, first_ever: bool, roles: &Roles) -> Result<(Ledger, bool), Failure> {
    match place {
        Place::File(_) => {
            roles.none()?;
            make(place, first_ever)
        }
        Place::Database(url) => {
            let (mut ledger, is_new) = Postgres::init(url, first_ever)?;
            ledger.grant(roles.shop.as_deref(), roles.worker.as_deref())?;
            Ok((Box::new(ledger), is_new))
        }
    }
}

/// The statements that `init` runs.
pub fn script(place: &Place, first_ever: bool, roles: &Roles) -> Result<String, Failure> {
    match place {
        Place::File(_) => {
            roles.none()?;
            Ok(sqlite::schema().to_owned())
        }
        Place::Database(_) => {
            let grants = postgres::grants(roles.shop.as_deref(), roles.worker.as_deref());
            Ok(format!("{}\n{grants}", postgres::schema(first_ever)))
        }
    }
}

/// Moves the ledger in a file into a database.
pub fn take_over(place: &Place, file: &Path) -> Result<u64, Failure> {
    match place {
        Place::Database(url) => Ok(Postgres::open(url)?.take_over(file)?),
        Place::File(_) => Err(Failure::new("--ledger names the database that the file moves into: postgres://…")),
    }
}

/// Opens the ledger that is there.
pub fn open(place: &Place) -> Result<Ledger, Failure> {
    if !place.is_there() {
        return Err(Failure::new(format!(
            "there is no ledger at {place}; `takings init` makes one, --ledger or TAKINGS_LEDGER names another"
        )));
    }
    Ok(make(place, false)?.0)
}

/// Where requests go, and whose they are.
pub struct Klarna {
    pub config: Config,
    pub base_url: String,
    /// The merchant, in a word that holds no secret.
    pub merchant: String,
    /// The rate that `takings.toml` gives the account, and how many requests at once.
    pub rate: (Option<f64>, Option<f64>),
}

impl Klarna {
    fn new(config: Config, rate: (Option<f64>, Option<f64>)) -> Result<Klarna, Failure> {
        let config = config.surface("cli");
        let base_url = Client::new(config.clone())?.base_url().to_owned();
        let merchant = config.merchant();
        Ok(Klarna { config, base_url, merchant, rate })
    }

    fn of_environment() -> Result<Klarna, Failure> {
        let config = Config::from_env()
            .map_err(|error| Failure::new(format!("{}; see takings help worker", error.message())))?;
        Klarna::new(config, (None, None))
    }
}

/// The accounts that `takings.toml` has credentials for.
#[derive(Debug)]
pub struct Accounts {
    file: PathBuf,
    written: BTreeMap<String, Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    #[serde(default)]
    account: BTreeMap<String, Map<String, Value>>,
}

impl Accounts {
    fn read(file: PathBuf, text: &str) -> Result<Accounts, Failure> {
        let contents: Contents = toml::from_str(text).map_err(|why| {
            // The parser's own words would show the line, and somebody may have written a password into it.
            let line = why.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            Failure::new(format!("{}, line {line}: {}", file.display(), why.message().replace('\n', " ")))
        })?;
        for name in contents.account.keys() {
            takings_ledger::store::check_account(name)
                .map_err(|why| Failure::new(format!("{}: {}", file.display(), why.message)))?;
        }
        Ok(Accounts { file, written: contents.account })
    }

    /// The names of `takings.toml`.
    pub fn names(&self) -> impl Iterator<Item = &String> {
        self.written.keys()
    }

    /// The accounts that a worker has credentials for: those of the file, and the environment's.
    pub fn served(&self) -> Vec<String> {
        let is_in_environment =
            ["KLARNA_USERNAME", "KLARNA_PASSWORD", "KLARNA_API_KEY"].into_iter().any(|name| variable(name).is_some());
        let mut names: Vec<String> = self.written.keys().cloned().collect();
        if !self.written.contains_key(ACCOUNT) && (is_in_environment || names.is_empty()) {
            names.insert(0, ACCOUNT.to_owned());
        }
        names
    }

    /// Reads the credentials of an account.
    pub fn klarna(&self, account: &str) -> Result<Klarna, Failure> {
        let Some(written) = self.written.get(account) else {
            if account == ACCOUNT {
                return Klarna::of_environment();
            }
            let place = match self.file.as_os_str().is_empty() {
                true => "there is no takings.toml (--config names one, or TAKINGS_CONFIG)".to_owned(),
                false => format!("{} has no [account.{account}]", self.file.display()),
            };
            return Err(Failure::new(format!("the account {account} has no credentials: {place}")));
        };
        self.written_as(written).map_err(|failure| {
            Failure::new(format!("{}, [account.{account}]: {}", self.file.display(), failure.message))
        })
    }

    fn written_as(&self, written: &Map<String, Value>) -> Result<Klarna, Failure> {
        let mut settings = written.clone();
        for secret in ["password", "api_key"] {
            if settings.contains_key(secret) {
                return Err(Failure::new(format!(
                    "{secret} stands in it in clear; name a variable of the environment ({secret}_env) or a file \
                     ({secret}_file) in its place"
                )));
            }
        }
        for field in PLACES {
            let mut given = settings.remove(field).into_iter().collect::<Vec<Value>>();
            for (ending, read) in [("env", of_variable as fn(&Accounts, &str) -> _), ("file", of_file)] {
                let name = format!("{field}_{ending}");
                if let Some(place) = settings.remove(&name) {
                    let place = place.as_str().ok_or_else(|| Failure::new(format!("{name} must be a text")))?;
                    let text = read(self, place).map_err(|why| Failure::new(format!("{name}: {}", why.message)))?;
                    given.push(Value::from(text));
                }
            }
            if given.len() > 1 {
                return Err(Failure::new(format!("{field} is given twice")));
            }
            settings.extend(given.pop().map(|value| (field.to_owned(), value)));
        }
        let mut number = |name: &str| match settings.remove(name) {
            None => Ok(None),
            Some(value) => value
                .as_f64()
                .filter(|number| *number > 0.0)
                .map(Some)
                .ok_or_else(|| Failure::new(format!("{name} must be a number above 0"))),
        };
        let rate = (number("per_second")?, number("burst")?);
        Klarna::new(Config::from_json(&Value::Object(settings).to_string())?, rate)
    }

    /// The folder in which the file names others: the one in which systemd puts credentials, or its own.
    fn folder(&self) -> PathBuf {
        variable("CREDENTIALS_DIRECTORY").unwrap_or_else(|| self.file.parent().map(Path::to_owned).unwrap_or_default())
    }
}

fn of_variable(_: &Accounts, name: &str) -> Result<String, Failure> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) | Err(std::env::VarError::NotPresent) => Err(Failure::new(format!("{name} is not set"))),
        Err(_) => Err(Failure::new(format!("{name} is not UTF-8"))),
    }
}

fn of_file(accounts: &Accounts, name: &str) -> Result<String, Failure> {
    let path = accounts.folder().join(name);
    let failed = |why: &dyn std::fmt::Display| Failure::new(format!("{}: {why}", path.display()));
    if std::fs::metadata(&path).map_err(|why| failed(&why))?.len() > LARGEST {
        return Err(failed(&"it is larger than any credential"));
    }
    let text = std::fs::read_to_string(&path).map_err(|why| failed(&why))?;
    // Editors end the line.
    Ok(text.trim_end_matches(['\n', '\r']).to_owned())
}

/// A client that checks requests and sends none: with the settings of the environment, where there are some.
pub fn checker() -> Result<Client, Failure> {
    let nobody = || Config::at("http://127.0.0.1:9", Credentials::basic("nobody", "nothing"));
    let config = Config::from_env().unwrap_or_else(|_| nobody());
    Ok(Client::new(config.surface("cli"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(text: &str) -> Result<Accounts, Failure> {
        Accounts::read(PathBuf::from("/nowhere/takings.toml"), text)
    }

    #[test]
    fn credentials_stand_elsewhere() {
        for (fields, why) in [
            ("password = \"hunter2\"", "password stands in it in clear"),
            ("username = \"PK1_a\"\npassword_env = \"TAKINGS_NOT_SET\"", "password_env: TAKINGS_NOT_SET is not set"),
            ("username = \"PK1_a\"\npassword_file = \"not-there\"", "password_file: /nowhere/not-there: "),
            ("username = \"a\"\nusername_file = \"/dev/null\"", "username is given twice"),
            ("api_key_env = 5", "api_key_env must be a text"),
            ("per_second = 0", "per_second must be a number above 0"),
            ("colour = \"red\"", "colour"),
            ("", "credentials are missing"),
        ] {
            let failure = accounts(&format!("[account.se]\n{fields}\n")).unwrap().klarna("se").err().unwrap();
            assert!(failure.message.starts_with("/nowhere/takings.toml, [account.se]: "), "{}", failure.message);
            assert!(failure.message.contains(why) && !failure.message.contains("hunter2"), "{}", failure.message);
        }
    }

    #[test]
    fn a_file_that_is_none_shows_none_of_its_lines() {
        for text in ["[account.se]\npassword = 'hunter2", "[acount.se]\n", "[account.\"a b\"]\n", "hunter2"] {
            let message = accounts(text).err().unwrap().message;
            assert!(message.starts_with("/nowhere/takings.toml") && !message.contains("hunter2"), "{message}");
        }
    }
}
