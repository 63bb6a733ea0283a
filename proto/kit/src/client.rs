//! The way of a client to coordinators: what it shows them, and what it demands of the way.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use crate::address::Address;
use crate::token::Token;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a silent connection is tried, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A channel whose calls show the client's token.
pub type Calls = InterceptedService<Channel, Bearer>;

/// What a client shows to coordinators and demands of them. Clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct Client {
    bearer: Bearer,
    tls: ClientTlsConfig,
}

/// What a client is told: files in PEM.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// Its token.
    pub token: Option<Token>,
    /// Authorities of the coordinators' certificates; those of the system when absent.
    pub ca: Option<PathBuf>,
    /// The client's own certificate, for coordinators that demand one.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}

/// Why a coordinator is not called: one line.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A token would be read by whoever is on the way.
    #[error("a token is never sent to {0} in plain text: name it by https://")]
    PlainText(Address),
    /// A file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: std::io::Error,
    },
    /// Half of an identity.
    #[error("a client's certificate and its key go together")]
    Identity,
    /// The address or the certificates make no sense.
    #[error("{address}: {}", root_cause(cause))]
    Channel {
        /// The address.
        address: Address,
        /// What the transport says.
        cause: tonic::transport::Error,
    },
}

impl Client {
    /// A client that shows what it was told.
    ///
    /// # Errors
    /// When a file cannot be read, or one of two is missing.
    pub fn new(credentials: &Credentials) -> Result<Self, ClientError> {
        let Credentials { token, ca, cert, key } = credentials;
        let mut tls = ClientTlsConfig::new();
        tls = match ca {
            Some(ca) => tls.ca_certificate(Certificate::from_pem(read(ca)?)),
            None => tls.with_native_roots(),
        };
        tls = match (cert, key) {
            (Some(cert), Some(key)) => tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
            (None, None) => tls,
            _ => return Err(ClientError::Identity),
        };
        Ok(Self { bearer: Bearer(token.as_ref().and_then(header)), tls })
    }

    /// The way to a coordinator, with its deadlines.
    ///
    /// # Errors
    /// When it would carry a token in plain text beyond this machine, or certificates make no sense.
    pub fn endpoint(&self, address: &Address) -> Result<Endpoint, ClientError> {
        if self.bearer.0.is_some() && !address.is_encrypted() && !address.is_loopback() {
            return Err(ClientError::PlainText(address.clone()));
        }
        let wrong = |cause| ClientError::Channel { address: address.clone(), cause };
        let mut endpoint = Endpoint::from_shared(address.to_string()).map_err(wrong)?;
        if address.is_encrypted() {
            endpoint = endpoint.tls_config(self.tls.clone()).map_err(wrong)?;
        }
        Ok(endpoint
            .connect_timeout(CONNECT)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE))
    }

    /// Calls over a channel, with the client's token.
    pub fn calls(&self, channel: Channel) -> Calls {
        InterceptedService::new(channel, self.bearer.clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|cause| ClientError::File { path: path.to_owned(), cause })
}

/// The header that shows a token. Tokens have been checked to fit into one.
fn header(token: &Token) -> Option<MetadataValue<Ascii>> {
    let mut value: MetadataValue<Ascii> = format!("Bearer {}", token.expose()).parse().ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// See [`Client`]; `Debug` shows no token.
#[derive(Clone, Debug, Default)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// The innermost cause of an error: the outer ones say only that a transport failed.
pub fn root_cause(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shows_a_token() -> Client {
        Client::new(&Credentials { token: Token::new("quiver_0123"), ..Credentials::default() }).unwrap()
    }

    #[test]
    fn a_token_goes_only_where_nobody_else_reads() {
        let (with, without) = (shows_a_token(), Client::default());
        let endpoint = |client: &Client, text: &str| client.endpoint(&text.parse().unwrap()).map(drop);
        assert!(
            endpoint(&with, "http://127.0.0.1:1").is_ok() && endpoint(&without, "http://10.0.0.1:1").is_ok()
        );
        let refused = endpoint(&with, "http://10.0.0.1:1").unwrap_err().to_string();
        assert_eq!(refused, "a token is never sent to http://10.0.0.1:1 in plain text: name it by https://");
    }

    #[test]
    fn files_that_make_no_sense_are_named() {
        let error = |credentials: &Credentials| Client::new(credentials).unwrap_err().to_string();
        let absent = Credentials { ca: Some("/absent".into()), ..Credentials::default() };
        assert_eq!(error(&absent), "cannot read /absent: No such file or directory (os error 2)");
        let half = Credentials { cert: Some("/absent".into()), ..Credentials::default() };
        assert_eq!(error(&half), "a client's certificate and its key go together");
    }

    #[test]
    fn each_call_shows_the_token_and_nothing_else_does() {
        let client = shows_a_token();
        let request = client.bearer.clone().call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer quiver_0123");
        assert!(!format!("{client:?} {request:?}").contains("0123"));
    }
}
