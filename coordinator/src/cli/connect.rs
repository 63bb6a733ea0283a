//! The way from a command to a coordinator.

use std::time::Duration;

use proto::v1::HelloRequest;
use proto::v1::operator_client::OperatorClient;
use proto_kit::address::Address;
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
    for address in Address::list(&coordinator.url)? {
        match connect_one(&address).await {
            Ok(operator) => return Ok(operator),
            Err(why) => refusals.push(format!("cannot reach the coordinator at {address}: {why}")),
        }
    }
    Err(Failure::new(refusals.join("; ")))
}

async fn connect_one(address: &Address) -> Result<Operator, String> {
    let endpoint = Endpoint::from_shared(address.to_string()).map_err(|error| root_cause(&error))?;
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
