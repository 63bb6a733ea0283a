//! The way from a command to a coordinator.

use proto::v1::HelloRequest;
use proto::v1::operator_client::OperatorClient;
use proto_kit::address::Address;
use proto_kit::client::{Calls, Client, Credentials, root_cause};
use proto_kit::token::Token;
use tonic::{Response, Status, Streaming};

use super::{CoordinatorArgs, CredentialArgs, Failure};

/// Largest answer that is read: a million jobs have names.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// A client of a coordinator's operator service.
pub(super) type Operator = OperatorClient<Calls>;

/// Connects to the first of the named coordinators that serves, or says in one line why none does.
pub(super) async fn connect(coordinator: &CoordinatorArgs) -> Result<Operator, Failure> {
    let CredentialArgs { token_file, ca, cert, key } = &coordinator.credentials;
    let token = Token::find(token_file.as_deref())?;
    let credentials = Credentials { token, ca: ca.clone(), cert: cert.clone(), key: key.clone() };
    let client = Client::new(&credentials)?;
    let mut refusals = Vec::new();
    for address in Address::list(&coordinator.url)? {
        match connect_one(&client, &address).await {
            Ok(operator) => return Ok(operator),
            Err(why) => refusals.push(format!("cannot reach the coordinator at {address}: {why}")),
        }
    }
    Err(Failure::new(refusals.join("; ")))
}

async fn connect_one(client: &Client, address: &Address) -> Result<Operator, String> {
    let endpoint = client.endpoint(address).map_err(|error| error.to_string())?;
    let channel = endpoint.connect().await.map_err(|error| root_cause(&error))?;
    let mut operator =
        OperatorClient::new(client.calls(channel)).max_decoding_message_size(MAX_MESSAGE_BYTES);
    answer(operator.hello(HelloRequest {}).await).map_err(|refused| refused.to_string())?;
    Ok(operator)
}

/// The message of a reply, or the coordinator's own words of refusal.
pub(super) fn answer<T>(reply: Result<Response<T>, Status>) -> Result<T, Failure> {
    reply.map(Response::into_inner).map_err(refusal)
}

/// The next message of a reply that is a stream, as [`answer`] gives one; none at its end.
pub(super) async fn next<T>(messages: &mut Streaming<T>) -> Result<Option<T>, Failure> {
    messages.message().await.map_err(refusal)
}

fn refusal(status: Status) -> Failure {
    match status.message() {
        "" => Failure::new(status.code()),
        message => Failure::new(message),
    }
}
