//! The way from a command to a coordinator.

use std::time::Duration;

use proto::v1::HelloRequest;
use proto::v1::operator_client::OperatorClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::{CoordinatorArgs, Failure};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest answer that is read: a million jobs have names.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// A client of a coordinator's operator service.
pub(super) type Operator = OperatorClient<Channel>;

/// Connects to the first of the named coordinators that serves, or says in one line why none does.
pub(super) async fn connect(coordinator: &CoordinatorArgs) -> Result<Operator, Failure> {
    let mut refusals = Vec::new();
    for url in coordinator.url.split(',').map(str::trim).filter(|url| !url.is_empty()) {
        match connect_one(url).await {
            Ok(operator) => return Ok(operator),
            Err(why) => refusals.push(format!("cannot reach the coordinator at {url}: {why}")),
        }
    }
    match refusals.as_slice() {
        [] => Err(Failure::new("no coordinator is named")),
        _ => Err(Failure::new(refusals.join("; "))),
    }
}

async fn connect_one(url: &str) -> Result<Operator, String> {
    let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let endpoint = Endpoint::from_shared(with_scheme)
        .map_err(|error| format!("this is no address of a coordinator: {error}"))?;
    let channel =
        endpoint.connect_timeout(CONNECT_TIMEOUT).connect().await.map_err(|error| root_cause(&error))?;
    let mut operator = OperatorClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
    answer(operator.hello(HelloRequest {}).await).map_err(|refused| refused.to_string())?;
    Ok(operator)
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
