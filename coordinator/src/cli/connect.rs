//! The way from a command to a coordinator.

use std::time::Duration;

use proto::v1::operator_client::OperatorClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::{CoordinatorArgs, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read: a million jobs have names.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// A client of a coordinator's operator service.
pub(super) type Operator = OperatorClient<Channel>;

/// Connects, or says in one line which address did not answer and why.
pub(super) async fn connect(coordinator: &CoordinatorArgs) -> Result<Operator, Failure> {
    let url = &coordinator.url;
    let with_scheme = if url.contains("://") { url.clone() } else { format!("http://{url}") };
    let endpoint = Endpoint::from_shared(with_scheme)
        .map_err(|error| Failure::new(format!("`{url}` is no address of a coordinator: {error}")))?;
    let channel = endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await.map_err(|error| {
        Failure::new(format!("cannot reach the coordinator at {url}: {}", root_cause(&error)))
    })?;
    Ok(OperatorClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The message of a reply, or the coordinator's own words of refusal.
pub(super) fn answer<T>(reply: Result<Response<T>, Status>) -> Result<T, Failure> {
    match reply {
        Ok(reply) => Ok(reply.into_inner()),
        Err(status) if status.message().is_empty() => Err(Failure::new(status.code())),
        Err(status) => Err(Failure::new(status.message())),
    }
}
