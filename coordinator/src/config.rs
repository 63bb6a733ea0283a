//! What a coordinator can be told: defaults, then a file, then `QUIVER_…` variables, then flags.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use coordinator_core::policy::Policy;
use proto_kit::config::ConfigError;
use proto_kit::telemetry::Format;
use serde::{Deserialize, Serialize};

use crate::access::Access;
use crate::door::TlsFiles;

/// The port that coordinators listen on unless told otherwise.
pub const PORT: u16 = 7700;

/// A coordinator's settings. Field names are keys of the file (TOML) and, in capitals behind `QUIVER_`, names of variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    /// Address that workers and operators connect to.
    pub listen: SocketAddr,
    /// Folder of the job table and the object store, where these are not named themselves.
    pub dir: PathBuf,
    /// The job table: a file, or the URL of a Postgres database; `table.sqlite` in `dir` by default.
    pub database: Option<String>,
    /// Where workers and operators reach this coordinator, unlike any other on the same database; by host name and port by default.
    pub address: Option<String>,
    /// How long a coordinator leads without renewing, where several share a database.
    #[serde(with = "proto_kit::human")]
    pub leader_ttl: Duration,
    /// The object store's URL or folder; `store` in `dir` by default.
    pub store: Option<String>,
    /// Whether `serve` serves whoever can connect, with every right, instead of holders of tokens.
    pub open: bool,
    /// The certificate that the port shows, in PEM, with those between it and its authority; without, the port is in plain text.
    pub tls_cert: Option<PathBuf>,
    /// Its key, in PEM.
    pub tls_key: Option<PathBuf>,
    /// Authorities, in PEM, of which clients must show a certificate; without, they need none.
    pub tls_client_ca: Option<PathBuf>,
    /// Whether the port may be in plain text beyond this machine.
    pub plaintext: bool,
    /// Calls that one caller may make in a second; 0 is no limit.
    pub calls_per_second: u32,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long a connection may take for its TLS handshake and its first bytes.
    #[serde(with = "proto_kit::human")]
    pub handshake_timeout: Duration,
    /// What is logged: a level, or directives by module. `info` by default, `warn` for `run`.
    pub log: Option<String>,
    /// How a log line looks: `pretty`, `compact` or `json`.
    pub log_format: Format,
    /// How long a worker's session lives after its last heartbeat.
    #[serde(with = "proto_kit::human")]
    pub lease_ttl: Duration,
    /// How often a worker is asked to send a heartbeat.
    #[serde(with = "proto_kit::human")]
    pub heartbeat: Duration,
    /// How long an offer may stay out of its worker's heartbeats before it counts as lost.
    #[serde(with = "proto_kit::human")]
    pub ack_timeout: Duration,
    /// Tries of a job before it fails for good.
    pub tries: u32,
    /// The wait after a job's first failure; it doubles with each further one.
    #[serde(with = "proto_kit::human")]
    pub backoff: Duration,
    /// The longest such wait.
    #[serde(with = "proto_kit::human")]
    pub backoff_cap: Duration,
    /// How often the passes of a job are halved after memory ran out, at no cost to its tries.
    pub max_halvings: u32,
    /// How long a running attempt may show no progress.
    #[serde(with = "proto_kit::human")]
    pub stall_after: Duration,
    /// A worker gets no more jobs once this many failed on it and then succeeded on another machine.
    pub blame_limit: u32,
}

impl Default for Settings {
    fn default() -> Self {
        let Policy {
            lease_ttl,
            heartbeat,
            ack_timeout,
            tries,
            backoff,
            backoff_cap,
            max_halvings,
            stall_after,
            blame_limit,
        } = Policy::default();
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            dir: PathBuf::from("quiver-data"),
            database: None,
            address: None,
            leader_ttl: Duration::from_secs(15),
            store: None,
            open: false,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            plaintext: false,
            calls_per_second: 10_000,
            max_connections: 10_000,
            handshake_timeout: Duration::from_secs(10),
            log: None,
            log_format: Format::default(),
            lease_ttl,
            heartbeat,
            ack_timeout,
            tries,
            backoff,
            backoff_cap,
            max_halvings,
            stall_after,
            blame_limit,
        }
    }
}

/// Settings that may be given as flags; `None` where a flag is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Flags {
    /// See [`Settings::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`Settings::dir`].
    pub dir: Option<PathBuf>,
    /// See [`Settings::database`].
    pub database: Option<String>,
    /// See [`Settings::address`].
    pub address: Option<String>,
    /// See [`Settings::store`].
    pub store: Option<String>,
    /// See [`Settings::open`].
    pub open: Option<bool>,
    /// See [`Settings::log`].
    pub log: Option<String>,
}

/// Settings that cannot be used: one line.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A layer is wrong.
    #[error(transparent)]
    Layer(#[from] ConfigError),
    /// A session would run out between two heartbeats.
    #[error("`heartbeat` ({heartbeat:?}) must be at most half of `lease_ttl` ({lease_ttl:?}) and above 0")]
    Heartbeat {
        /// As set.
        heartbeat: Duration,
        /// As set.
        lease_ttl: Duration,
    },
    /// The job table is in a database that this build does not know.
    #[error("`database`: this build keeps its table in a file or in postgres://…, not in `{scheme}`")]
    Database {
        /// As set.
        scheme: String,
    },
    /// A password stands where it would be shown.
    #[error("`database` carries a password: leave it out, and put it into PGPASSWORD or the file ~/.pgpass")]
    Password,
    /// Half of what TLS needs.
    #[error("`tls_cert` and `tls_key` go together, and `tls_client_ca` goes with them")]
    Tls,
    /// Calls and tokens would be read by whoever is on the way.
    #[error(
        "`listen` is {0}, beyond this machine: name a certificate by `tls_cert` and `tls_key`, or set `plaintext` where something else encrypts"
    )]
    PlainText(SocketAddr),
    /// A job would never be tried.
    #[error("`tries` must be at least 1")]
    Tries,
}

/// Where a job table is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Database {
    /// In a SQLite file.
    File(PathBuf),
    /// In Postgres, at a URL.
    Postgres(String),
}

impl Settings {
    /// Reads all layers.
    ///
    /// # Errors
    /// The first key or value that is wrong, with its source.
    pub fn load(file: Option<&Path>, flags: Flags) -> Result<Self, SettingsError> {
        let settings: Self = proto_kit::config::load(file, flags)?;
        let Self { heartbeat, lease_ttl, tries, .. } = settings;
        if heartbeat.is_zero() || heartbeat > lease_ttl / 2 {
            return Err(SettingsError::Heartbeat { heartbeat, lease_ttl });
        }
        if tries == 0 {
            return Err(SettingsError::Tries);
        }
        Ok(settings)
    }

    /// Where the job table is.
    ///
    /// # Errors
    /// When it is a URL of another kind than `postgres://`, or one that carries a password.
    pub fn database(&self) -> Result<Database, SettingsError> {
        match self.database.as_deref().map(|text| (text, text.split_once("://"))) {
            None => Ok(Database::File(self.dir.join("table.sqlite"))),
            Some((path, None)) => Ok(Database::File(path.into())),
            Some((url, Some(("postgres" | "postgresql", rest)))) => {
                let user = rest.split(['/', '?']).next().and_then(|place| place.rsplit_once('@'));
                if user.is_some_and(|(user, _)| user.contains(':')) || rest.contains("password=") {
                    return Err(SettingsError::Password);
                }
                Ok(Database::Postgres(url.to_owned()))
            }
            Some((_, Some((scheme, _)))) => Err(SettingsError::Database { scheme: scheme.to_owned() }),
        }
    }

    /// Where others reach a coordinator that listens on `listening`.
    pub fn address(&self, listening: SocketAddr) -> String {
        self.address.clone().unwrap_or_else(|| {
            let host = proto_kit::host::name();
            format!("http://{host}:{}", listening.port())
        })
    }

    /// Whom `serve` serves.
    pub fn access(&self) -> Access {
        if self.open { Access::Open } else { Access::Tokens }
    }

    /// What the port of `serve` shows.
    ///
    /// # Errors
    /// When a file is missing, or the port would be in plain text beyond this machine.
    pub(crate) fn tls(&self) -> Result<Option<TlsFiles>, SettingsError> {
        let Self { listen, tls_cert, tls_key, tls_client_ca, plaintext, .. } = self;
        match (tls_cert, tls_key, tls_client_ca) {
            (Some(cert), Some(key), client_ca) => {
                Ok(Some(TlsFiles { cert: cert.clone(), key: key.clone(), client_ca: client_ca.clone() }))
            }
            (None, None, None) if listen.ip().is_loopback() || *plaintext => Ok(None),
            (None, None, None) => Err(SettingsError::PlainText(*listen)),
            _ => Err(SettingsError::Tls),
        }
    }

    /// Where artifacts are.
    pub fn store(&self) -> String {
        self.store.clone().unwrap_or_else(|| self.dir.join("store").display().to_string())
    }

    /// Deadlines and budgets.
    pub fn policy(&self) -> Policy {
        let Self {
            lease_ttl,
            heartbeat,
            ack_timeout,
            tries,
            backoff,
            backoff_cap,
            max_halvings,
            stall_after,
            blame_limit,
            ..
        } = *self;
        Policy {
            lease_ttl,
            heartbeat,
            ack_timeout,
            tries,
            backoff,
            backoff_cap,
            max_halvings,
            stall_after,
            blame_limit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, SettingsError> {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("quiver.toml");
        std::fs::write(&file, text).unwrap();
        Settings::load(Some(&file), Flags::default())
    }

    #[test]
    fn a_file_and_flags_set_what_they_name() {
        let settings = load("lease_ttl = \"1m\"\ndir = \"/data\"\n").unwrap();
        assert_eq!(settings.lease_ttl, Duration::from_secs(60));
        assert_eq!(settings.database().unwrap(), Database::File("/data/table.sqlite".into()));
        assert_eq!(settings.store(), "/data/store");
        assert_eq!(settings.policy().tries, Policy::default().tries);
        let flags = Flags { dir: Some("x".into()), ..Flags::default() };
        assert_eq!(Settings::load(None, flags).unwrap().dir, Path::new("x"));
    }

    #[test]
    fn the_settings_of_a_cluster_are_understood() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/quiver.toml");
        let settings = Settings::load(Some(Path::new(file)), Flags::default()).unwrap();
        assert!(matches!(settings.database().unwrap(), Database::Postgres(_)), "{:?}", settings.database());
        assert!(settings.tls().unwrap().is_some() && settings.access() == Access::Tokens);
    }

    #[test]
    fn what_is_wrong_is_one_line() {
        for (text, expected) in [
            ("lease_tll = \"1m\"", "unknown setting `lease_tll`; the nearest valid one is `lease_ttl`"),
            ("lease_ttl = \"soon\"", "`soon` is no duration like `30s`"),
            ("listen = \"here\"", "`listen`"),
            (
                "heartbeat = \"20s\"",
                "`heartbeat` (20s) must be at most half of `lease_ttl` (28s) and above 0",
            ),
            ("tries = 0", "`tries` must be at least 1"),
        ] {
            let message = load(text).unwrap_err().to_string();
            assert!(message.contains(expected) && !message.contains('\n'), "{message}");
        }
    }

    #[test]
    fn a_database_is_a_file_or_postgres_without_a_password() {
        let database = |text: &str| {
            let settings = Settings { database: Some(text.into()), ..Settings::default() };
            settings.database().map_err(|error| error.to_string())
        };
        assert_eq!(database("/data/x.db"), Ok(Database::File("/data/x.db".into())));
        let url = "postgres://quiver@db.local:5432/quiver?sslmode=verify-full";
        assert_eq!(database(url), Ok(Database::Postgres(url.into())));
        for secret in ["postgres://quiver:secret@db/quiver", "postgres://db/quiver?user=q&password=secret"] {
            let refused = database(secret).unwrap_err();
            assert!(refused.contains("PGPASSWORD") && !refused.contains("secret"), "{refused}");
        }
        assert!(database("mysql://db/quiver").unwrap_err().contains("`mysql`"));
    }

    #[test]
    fn a_port_beyond_this_machine_is_encrypted_unless_told_otherwise() {
        let tls = |text: &str| load(text).unwrap().tls().map_err(|error| error.to_string());
        let files = "tls_cert = \"c.pem\"\ntls_key = \"k.pem\"\n";
        assert_eq!(tls(""), Ok(None));
        assert!(tls(files).unwrap().is_some_and(|files| files.client_ca.is_none()));
        for beyond in
            ["listen = \"0.0.0.0:7700\"\n", "listen = \"[::]:7700\"\n", "listen = \"10.0.0.1:7700\"\n"]
        {
            assert!(tls(beyond).unwrap_err().contains("beyond this machine"));
            assert_eq!(tls(&format!("{beyond}plaintext = true")), Ok(None));
            assert!(tls(&format!("{beyond}{files}")).unwrap().is_some());
        }
        for half in ["tls_cert = \"c\"", "tls_key = \"k\"", "tls_client_ca = \"a\""] {
            assert!(tls(half).unwrap_err().contains("go together"));
        }
    }

    #[test]
    fn the_manual_names_every_setting_with_its_default() {
        let manual = include_str!("../../docs/configuration.md");
        assert_eq!(
            proto_kit::manual::mistakes(manual, "Coordinator", Settings::default()),
            Vec::<String>::new()
        );
    }
}
