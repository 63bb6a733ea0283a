//! One way to configure every program: defaults, then a TOML file, then environment variables `QUIVER_…` (`__` goes one level down),
//! then flags. A key that nobody reads is an error, because a misspelt setting must not be silently without effect.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use figment::providers::{Env, Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Error, Figment, Metadata, Profile, Provider};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// What every variable's name begins with.
const PREFIX: &str = "QUIVER_";

/// Top-level keys that belong to one program. The programs of a node share file and environment, so each passes over the keys of the
/// others; `log`, `checkpoint_seconds` and `lane_memory` are the runner's variables, those from `token` to
/// `client_key` every client's, `test_postgres` the tests'.
const SHARED: [&str; 12] = [
    "coordinator",
    "worker",
    "runner",
    "log",
    "checkpoint_seconds",
    "lane_memory",
    "token",
    "token_file",
    "ca",
    "client_cert",
    "client_key",
    "test_postgres",
];

/// Why a configuration cannot be used. Each is one line that names the key and its source.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A key that no setting has.
    #[error("{origin}: unknown setting `{key}`; {}", hint(nearest.as_deref()))]
    UnknownKey {
        /// The file or variable.
        origin: String,
        /// The key, dotted.
        key: String,
        /// The valid key with the most similar spelling.
        nearest: Option<String>,
    },
    /// The file does not exist or cannot be read.
    #[error("{}: cannot be read: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The system's words.
        reason: String,
    },
    /// A layer is malformed, or a value does not fit its setting.
    #[error("{origin}: {reason}")]
    Invalid {
        /// The file, variable or flags.
        origin: String,
        /// What is wrong, with key or line.
        reason: String,
    },
}

fn hint(nearest: Option<&str>) -> String {
    nearest
        .map_or_else(|| "there are no settings".to_owned(), |key| format!("the nearest valid one is `{key}`"))
}

/// Loads settings from all layers. `T`'s default defines which keys exist: below a default of `None` or an empty map every key is
/// handed to `T`, which may refuse it. In `flags`, `None` means that the flag was not given.
///
/// # Errors
/// When the file cannot be read, a key is unknown, or a value does not fit.
pub fn load<T>(file: Option<&Path>, flags: impl Serialize) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let figment =
        layers(file, &Serialized::defaults(T::default()), &Serialized::defaults(flags), |key, known| {
            known.contains_key(key) || !SHARED.contains(&key)
        })?;
    figment.extract().map_err(|error| misfit(None, &error))
}

/// Loads the settings of a program that owns one section: the table `[section]` of the file, variables `QUIVER_SECTION__…`. What lies
/// outside it belongs to others.
///
/// # Errors
/// As for [`load`].
pub fn load_section<T>(section: &str, file: Option<&Path>, flags: impl Serialize) -> Result<T, ConfigError>
where
    T: Serialize + DeserializeOwned + Default,
{
    let defaults = Serialized::default(section, T::default());
    let figment = layers(file, &defaults, &Serialized::default(section, flags), |key, _| key == section)?;
    figment.focus(section).extract().map_err(|error| misfit(Some(section), &error))
}

/// Merges the layers. `own` tells which top-level keys are this program's.
fn layers(
    file: Option<&Path>,
    defaults: &impl Provider,
    flags: &impl Provider,
    own: impl Fn(&str, &Dict) -> bool,
) -> Result<Figment, ConfigError> {
    let known = read(defaults, "defaults")?;
    let owned = |mut settings: Dict| {
        settings.retain(|key, _| own(key, &known));
        settings
    };
    let mut figment = Figment::from(defaults);
    if let Some(file) = file {
        let text = std::fs::read_to_string(file)
            .map_err(|e| ConfigError::Unreadable { file: file.to_owned(), reason: e.to_string() })?;
        let name = file.display().to_string();
        let settings = owned(read(&Toml::string(&text), &name)?);
        check(&known, &settings, &mut Vec::new(), &|_| name.clone())?;
        figment = figment.merge(Layer { metadata: Metadata::named(name), settings });
    }
    let settings = owned(read(&Env::prefixed(PREFIX).split("__"), "environment")?);
    check(&known, &settings, &mut Vec::new(), &|path| variable(path))?;
    let environment = Metadata::named("environment").interpolater(|_, path| variable(path));
    figment = figment.merge(Layer { metadata: environment, settings });
    let settings = given(read(flags, "flags")?);
    check(&known, &settings, &mut Vec::new(), &|_| "flags".to_owned())?;
    Ok(figment.merge(Layer { metadata: Metadata::named("flags"), settings }))
}

/// One layer, already checked.
struct Layer {
    metadata: Metadata,
    settings: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Map::from([(Profile::Default, self.settings.clone())]))
    }
}

fn variable(path: &[&str]) -> String {
    format!("{PREFIX}{}", path.join("__").to_uppercase())
}

pub(crate) fn read(layer: &impl Provider, origin: &str) -> Result<Dict, ConfigError> {
    let mut profiles = layer.data().map_err(|error| ConfigError::Invalid {
        origin: origin.to_owned(),
        reason: one_line(&error.kind.to_string()),
    })?;
    Ok(profiles.remove(&Profile::Default).unwrap_or_default())
}

/// Drops the flags that were not given.
fn given(flags: Dict) -> Dict {
    let keep = |(key, value): (String, Value)| match value {
        Value::Empty(..) => None,
        Value::Dict(tag, inner) => Some((key, Value::Dict(tag, given(inner)))),
        other => Some((key, other)),
    };
    flags.into_iter().filter_map(keep).collect()
}

fn check<'a>(
    known: &Dict,
    settings: &'a Dict,
    path: &mut Vec<&'a str>,
    origin: &dyn Fn(&[&str]) -> String,
) -> Result<(), ConfigError> {
    for (key, value) in settings {
        path.push(key);
        match (known.get(key), value) {
            (None, _) => {
                let mut valid = BTreeSet::new();
                dotted(known, &path[..path.len() - 1].join("."), &mut valid);
                let key = path.join(".");
                let nearest =
                    valid.into_iter().min_by_key(|candidate| strsim::damerau_levenshtein(candidate, &key));
                return Err(ConfigError::UnknownKey { origin: origin(path), key, nearest });
            }
            (Some(Value::Dict(_, known)), Value::Dict(_, settings)) if !known.is_empty() => {
                check(known, settings, path, origin)?;
            }
            (Some(_), _) => {}
        }
        path.pop();
    }
    Ok(())
}

/// Every key at and below a level, dotted.
fn dotted(level: &Dict, prefix: &str, into: &mut BTreeSet<String>) {
    for (key, value) in level {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => dotted(inner, &path, into),
            _ => {
                into.insert(path);
            }
        }
    }
}

/// A value that does not fit, with the layer that it came from.
fn misfit(section: Option<&str>, error: &Error) -> ConfigError {
    let path: Vec<&str> = section.into_iter().chain(error.path.iter().map(String::as_str)).collect();
    let origin = match &error.metadata {
        Some(metadata) if metadata.name == "environment" => variable(&path),
        Some(metadata) => metadata.name.to_string(),
        None => "settings".to_owned(),
    };
    let key = if path.is_empty() { String::new() } else { format!("`{}`: ", path.join(".")) };
    ConfigError::Invalid { origin, reason: format!("{key}{}", one_line(&error.kind.to_string())) }
}

/// Parsers draw pictures of the place over several lines; only the sentences are kept.
fn one_line(text: &str) -> String {
    text.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.contains('|'))
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests;
