//! Addresses of stores. A URL says where; who may enter is said by the environment alone, so that an address can be written into tables,
//! logs and messages.

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Once};
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum, S3ConditionalPut};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path as Key;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientConfigKey, ObjectStore, RetryConfig};
use url::Url;

use crate::folder::Folder;
use crate::words::Speaker;
use crate::{ArtifactError, Result};

/// How long a server may stay silent before its connection is given up.
const SILENCE: &str = "60s";
/// How long a whole answer may take. Downloads go on where one ended, so this only bounds a server that trickles.
const ANSWER: &str = "1h";

/// Variables of the environment by name.
pub type Variable = (String, String);

/// An open store.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn ObjectStore>,
    /// What messages call it.
    pub(crate) speaker: Speaker,
    /// Where it is a folder.
    pub(crate) folder: Option<Arc<Folder>>,
}

/// Opens the store at a URL or in a folder.
pub(crate) fn open(url: &str, variables: &[Variable]) -> Result<Opened> {
    let shown = without_credentials(url);
    let wrong = |reason: String| ArtifactError::Address { url: shown.clone(), reason };
    if url.is_empty() {
        return Err(wrong("is empty".to_owned()));
    }
    let Some((scheme, _)) = url.split_once("://") else { return Folder::open(PathBuf::from(url), &wrong) };
    let parsed = Url::parse(url).map_err(|error| wrong(error.to_string()))?;
    let azure_account = scheme.starts_with("abfs") && parsed.password().is_none();
    if parsed.password().is_some() || (!parsed.username().is_empty() && !azure_account) {
        return Err(wrong("credentials belong into the environment, not into the URL".to_owned()));
    }
    if parsed.query().is_some() || parsed.fragment().is_some() {
        return Err(wrong(
            "nothing may follow `?` or `#`: settings and credentials belong into the environment".to_owned(),
        ));
    }
    if scheme == "file" {
        let folder = parsed.to_file_path().map_err(|()| wrong("must be file:///absolute/path".to_owned()))?;
        return Folder::open(folder, &wrong);
    }
    let bucket = parsed.host_str().filter(|host| !host.is_empty());
    let bucket = bucket.ok_or_else(|| wrong(format!("must be {scheme}://bucket/prefix")))?;
    if parsed.port().is_some() {
        return Err(wrong(
            "names a port: a server's address belongs into the environment, as AWS_ENDPOINT_URL".to_owned(),
        ));
    }
    let prefix = Key::from_url_path(parsed.path()).map_err(|error| wrong(error.to_string()))?;
    let speaker = Speaker::new(url.trim_end_matches('/'), secrets(variables));
    let refused = |error: object_store::Error| wrong(speaker.words(&error));
    install_tls();
    let store: Arc<dyn ObjectStore> = match scheme {
        "s3" => within(s3(bucket, variables).build().map_err(refused)?, prefix),
        "gs" => within(gcs(bucket, variables).build().map_err(refused)?, prefix),
        "az" | "abfs" | "abfss" => within(azure(url, variables).build().map_err(refused)?, prefix),
        _ => {
            return Err(wrong(format!(
                "`{scheme}` is not spoken; stores are file://, s3://, gs://, az:// and abfss:// URLs"
            )));
        }
    };
    Ok(Opened { store, speaker, folder: None })
}

fn within<S: ObjectStore>(store: S, prefix: Key) -> Arc<dyn ObjectStore> {
    if prefix.is_root() { Arc::new(store) } else { Arc::new(PrefixStore::new(store, prefix)) }
}

fn s3(bucket: &str, variables: &[Variable]) -> AmazonS3Builder {
    let http = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"]
        .iter()
        .find_map(|name| value(variables, name))
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    let mut builder = AmazonS3Builder::new();
    for (key, value) in client(http) {
        builder = builder.with_config(AmazonS3ConfigKey::Client(key), value);
    }
    for (key, value) in settings(variables, "AWS_") {
        builder = builder.with_config(key, value);
    }
    builder
        .with_bucket_name(bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_checksum_algorithm(Checksum::SHA256)
        .with_retry(tries())
}

fn gcs(bucket: &str, variables: &[Variable]) -> GoogleCloudStorageBuilder {
    let http = value(variables, "GOOGLE_BASE_URL").is_some_and(|url| url.starts_with("http://"));
    let mut builder = GoogleCloudStorageBuilder::new();
    for (key, value) in client(http) {
        builder = builder.with_config(GoogleConfigKey::Client(key), value);
    }
    for (key, value) in settings(variables, "GOOGLE_") {
        builder = builder.with_config(key, value);
    }
    builder.with_bucket_name(bucket).with_retry(tries())
}

fn azure(url: &str, variables: &[Variable]) -> MicrosoftAzureBuilder {
    let http = value(variables, "AZURE_STORAGE_ENDPOINT").is_some_and(|url| url.starts_with("http://"));
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in client(http) {
        builder = builder.with_config(AzureConfigKey::Client(key), value);
    }
    for (key, value) in settings(variables, "AZURE_") {
        builder = builder.with_config(key, value);
    }
    if let Some(endpoint) = value(variables, "IDENTITY_ENDPOINT") {
        builder = builder.with_msi_endpoint(endpoint);
    }
    builder.with_url(url).with_retry(tries())
}

/// What every client does unless the environment says otherwise.
fn client(http: bool) -> [(ClientConfigKey, String); 3] {
    [
        (ClientConfigKey::AllowHttp, http.to_string()),
        (ClientConfigKey::ReadTimeout, SILENCE.to_owned()),
        (ClientConfigKey::Timeout, ANSWER.to_owned()),
    ]
}

/// Tries of one request. Whole operations are tried again above it, see `Artifacts::again`.
fn tries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        base: 2.0,
    };
    RetryConfig { backoff, max_retries: 4, retry_timeout: Duration::from_secs(60) }
}

/// The settings that a kind of store knows among the variables of its prefix.
fn settings<'a, K: FromStr + 'a>(
    variables: &'a [Variable],
    prefix: &'a str,
) -> impl Iterator<Item = (K, &'a str)> {
    let own = variables.iter().filter(move |(name, _)| name.starts_with(prefix));
    own.filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value.as_str())))
}

fn value<'a>(variables: &'a [Variable], name: &str) -> Option<&'a str> {
    variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

/// Values that no message may hold. Names of files and addresses may.
fn secrets(variables: &[Variable]) -> Vec<String> {
    let ours = |name: &str| ["AWS_", "GOOGLE_", "AZURE_"].iter().any(|prefix| name.starts_with(prefix));
    let kept = |name: &str| ["KEY", "SECRET", "TOKEN", "PASSWORD"].iter().any(|part| name.contains(part));
    let place = |name: &str| name.ends_with("_FILE") || name.ends_with("_URL") || name.ends_with("_PATH");
    let chosen =
        variables.iter().filter(|(name, value)| ours(name) && kept(name) && !place(name) && value.len() >= 4);
    chosen.map(|(_, value)| value.clone()).collect()
}

/// The address as messages show it: without user, password, query and fragment.
fn without_credentials(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// TLS is done by ring; reqwest is built without a provider of its own.
fn install_tls() {
    static ONCE: Once = Once::new();
    // A process that chose a provider before keeps it.
    ONCE.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
}

#[cfg(test)]
mod tests;
