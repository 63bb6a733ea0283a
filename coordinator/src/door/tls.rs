//! Certificate and key of the port, and whose clients it lets in. Files that change are read again, so that certificates are renewed
//! without a stop.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::time::Instant;

/// How often the files are looked at, while connections come.
const LOOK: Duration = Duration::from_secs(1);
/// What is spoken above TLS: gRPC, and HTTP/1 for pages.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The port's certificate, with those between it and its authority.
    pub(crate) cert: PathBuf,
    /// Its key.
    pub(crate) key: PathBuf,
    /// Authorities of clients; without, clients need no certificate.
    pub(crate) client_ca: Option<PathBuf>,
}

/// Files that cannot be used: one line.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that holds no certificate or key.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Certificate and key do not go together.
    #[error("{} and {}: {cause}", cert.display(), key.display())]
    Pair {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        cause: rustls::Error,
    },
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    changed: Vec<Option<SystemTime>>,
    looked: Instant,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read, holds something else, or certificate and key do not go together.
    pub(crate) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let changed = files.changed();
        let loaded = Loaded { config: files.config()?, changed, looked: Instant::now() };
        Ok(Self { files, loaded: Mutex::new(loaded) })
    }

    /// What to shake hands by now. Files that changed into nonsense leave it as it was.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.looked.elapsed() >= LOOK {
            loaded.looked = Instant::now();
            let changed = self.files.changed();
            if changed != loaded.changed {
                loaded.changed = changed;
                match self.files.config() {
                    Ok(config) => {
                        tracing::info!(cert = %self.files.cert.display(), "certificates are read again");
                        loaded.config = config;
                    }
                    Err(error) => {
                        tracing::error!(%error, "certificates changed and cannot be used; the old ones stay")
                    }
                }
            }
        }
        Arc::clone(&loaded.config)
    }
}

impl TlsFiles {
    /// When each file changed last.
    fn changed(&self) -> Vec<Option<SystemTime>> {
        let files = [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()];
        let changed = |path: &PathBuf| std::fs::metadata(path).and_then(|file| file.modified()).ok();
        files.into_iter().flatten().map(changed).collect()
    }

    fn config(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let Self { cert, key, client_ca } = self;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let pair = |cause| TlsError::Pair { cert: cert.clone(), key: key.clone(), cause };
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions().map_err(pair)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(path) => builder.with_client_cert_verifier(clients(path, provider)?),
        };
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::File {
            path: key.clone(),
            why: format!("no private key in PEM: {error}"),
        })?;
        let mut config = builder.with_single_cert(certificates(cert)?, private).map_err(pair)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(Arc::new(config))
    }
}

/// The certificates in a file.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |why: String| TlsError::File { path: path.to_owned(), why };
    let found = CertificateDer::pem_file_iter(path).and_then(|found| found.collect::<Result<Vec<_>, _>>());
    let found = found.map_err(|error| wrong(format!("no certificates in PEM: {error}")))?;
    if found.is_empty() { Err(wrong("no certificate in it".to_owned())) } else { Ok(found) }
}

/// Demands certificates of clients, of the authorities in a file.
fn clients(
    path: &Path,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let wrong = |why: String| TlsError::File { path: path.to_owned(), why };
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build();
    verifier.map(|verifier| verifier as _).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    fn write(files: &TlsFiles) {
        let key = KeyPair::generate().unwrap();
        let cert = CertificateParams::default().self_signed(&key).unwrap();
        std::fs::write(&files.key, key.serialize_pem()).unwrap();
        std::fs::write(&files.cert, cert.pem()).unwrap();
    }

    fn files(folder: &Path) -> TlsFiles {
        TlsFiles { cert: folder.join("c.pem"), key: folder.join("k.pem"), client_ca: None }
    }

    fn age(files: &TlsFiles, seconds: u64) {
        let file = std::fs::File::open(&files.cert).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_change_are_read_again_and_nonsense_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        write(&files);
        age(&files, 1);
        let tls = Tls::load(files.clone()).unwrap();
        let first = tls.config();
        std::fs::write(&files.cert, "nonsense").unwrap();
        age(&files, 2);
        tokio::time::advance(LOOK).await;
        assert!(Arc::ptr_eq(&first, &tls.config()));
        write(&files);
        age(&files, 3);
        assert!(Arc::ptr_eq(&first, &tls.config()), "it was looked at just now");
        tokio::time::advance(LOOK).await;
        assert!(!Arc::ptr_eq(&first, &tls.config()));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (files, other) =
            (files(folder.path()), TlsFiles { key: folder.path().join("o.pem"), ..files(folder.path()) });
        let error = || Tls::load(files.clone()).unwrap_err().to_string();
        assert!(error().contains("k.pem: no private key in PEM"), "{}", error());
        write(&files);
        std::fs::write(&files.cert, "").unwrap();
        assert!(error().ends_with("c.pem: no certificate in it"), "{}", error());
        write(&files);
        std::fs::write(&other.key, KeyPair::generate().unwrap().serialize_pem()).unwrap();
        let error = Tls::load(other).unwrap_err().to_string();
        assert!(error.contains("o.pem: "), "{error}");
    }
}
