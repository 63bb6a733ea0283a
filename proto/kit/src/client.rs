//! The way of a client to coordinators: what it shows them, and what it demands of the way.

use std::error::Error;
use std::time::Duration;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::address::Address;
use crate::token::Token;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);
/// How often a silent connection is tried, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// A channel whose calls show the client's token.
pub type Calls = InterceptedService<Channel, Bearer>;

/// What a client shows to coordinators. Clones are cheap.
#[derive(Clone, Debug, Default)]
pub struct Client {
    bearer: Bearer,
}

/// Why a coordinator is not called: one line.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// A token would be read by whoever is on the way.
    #[error("a token is never sent to {0} in plain text: name it by https://")]
    PlainText(Address),
    /// The address or the settings of the channel make no sense.
    #[error("{address}: {}", root_cause(cause))]
    Channel {
        /// The address.
        address: Address,
        /// What the transport says.
        cause: tonic::transport::Error,
    },
}

impl Client {
    /// A client that shows a token, or none.
    pub fn new(token: Option<&Token>) -> Self {
        Self { bearer: Bearer(token.and_then(header)) }
    }

    /// The way to a coordinator, with its deadlines.
    ///
    /// # Errors
    /// When it would carry a token in plain text beyond this machine, or the settings make no sense.
    pub fn endpoint(&self, address: &Address) -> Result<Endpoint, ClientError> {
        if self.bearer.0.is_some() && !address.is_encrypted() && !address.is_loopback() {
            return Err(ClientError::PlainText(address.clone()));
        }
        let endpoint = Endpoint::from_shared(address.to_string())
            .map_err(|cause| ClientError::Channel { address: address.clone(), cause })?;
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

/// Shows the token with each call. It has been checked to fit into a header.
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

    #[test]
    fn a_token_goes_only_where_nobody_else_reads() {
        let token = Token::new("quiver_0123").unwrap();
        let (with, without) = (Client::new(Some(&token)), Client::default());
        let endpoint = |client: &Client, text: &str| client.endpoint(&text.parse().unwrap()).map(drop);
        assert!(
            endpoint(&with, "http://127.0.0.1:1").is_ok() && endpoint(&without, "http://10.0.0.1:1").is_ok()
        );
        let refused = endpoint(&with, "http://10.0.0.1:1").unwrap_err().to_string();
        assert_eq!(refused, "a token is never sent to http://10.0.0.1:1 in plain text: name it by https://");
    }

    #[test]
    fn each_call_shows_the_token_and_nothing_else_does() {
        let token = Token::new("quiver_0123").unwrap();
        let client = Client::new(Some(&token));
        let request = client.bearer.clone().call(Request::new(())).unwrap();
        assert_eq!(request.metadata().get("authorization").unwrap(), "Bearer quiver_0123");
        assert!(!format!("{client:?} {request:?}").contains("0123"));
    }
}
