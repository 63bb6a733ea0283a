//! The coordinator as a worker sees it: unary calls with deadlines, and what a failed call means.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use proto::error::{Reason, StandsBy};
use proto::v1;
use proto::v1::fleet_client::FleetClient;
use proto_kit::address::Address;
use proto_kit::trace;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Response, Status};
use tracing::Span;

use crate::error::Error;
use crate::route::{Door, Route};

/// How long a call may take, besides the time that it asked to wait.
const CALL: Duration = Duration::from_secs(10);

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No coordinator answers, or each says to come back later: one reason for each. Trying again is safe and may help.
    #[error("{0}")]
    Unreachable(String),
    /// The coordinator refuses for a reason that the protocol knows.
    #[error("the coordinator refuses: {1}")]
    Refused(Reason, String),
    /// The coordinator will never accept this call.
    #[error("the coordinator rejects the call: {0}")]
    Rejected(String),
}

/// A client. Clones share the channels and what is known about who serves.
#[derive(Clone, Debug)]
pub struct Fleet {
    route: Arc<Route>,
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $reply:ident),+ $(,)?) => {
        $($(#[$doc])*
        pub(crate) async fn $name(&self, request: v1::$request) -> Result<v1::$reply, CallError> {
            self.call(CALL, request, |mut client, request| async move { client.$name(traced(request)).await }).await
        })+
    };
}

impl Fleet {
    /// A client of the coordinators at `urls`, several with commas between, over the network. One of them serves; the others tell which.
    ///
    /// # Errors
    /// When an address makes no sense.
    pub fn connect(urls: &str) -> Result<Self, Error> {
        let wrong = |error| Error::Setting(format!("`coordinator`: {error}"));
        let addresses = Address::list(urls).map_err(wrong)?;
        let door = |address: &Address| Ok(Door::new(address.as_str(), endpoint(address)?.connect_lazy()));
        let doors = addresses.iter().map(door).collect::<Result<_, Error>>()?;
        let dial = |address: &Address| endpoint(address).ok().map(|endpoint| endpoint.connect_lazy());
        Ok(Self { route: Arc::new(Route::new(doors, Some(dial))) })
    }

    /// Address, deadlines and keep-alive of a channel to the coordinator at `url`. A simulation joins it with a connector of its own
    /// (`connect_with_connector_lazy`) and hands the channels to [`Fleet::over`].
    ///
    /// # Errors
    /// When the URL makes no sense.
    pub fn endpoint(url: &str) -> Result<Endpoint, Error> {
        endpoint(&url.parse().map_err(|error| Error::Setting(format!("`coordinator`: {error}")))?)
    }

    /// A client over channels that connect again by themselves, each with its coordinator's URL.
    pub fn over(channels: Vec<(String, Channel)>) -> Self {
        let doors = channels.into_iter().map(|(url, channel)| Door::new(&url, channel)).collect();
        Self { route: Arc::new(Route::new(doors, None)) }
    }

    unary! {
        register(RegisterRequest) -> RegisterReply,
        heartbeat(HeartbeatRequest) -> HeartbeatReply,
        checkpointed(CheckpointedRequest) -> CheckpointedReply,
        complete(CompleteRequest) -> CompleteReply,
        fail(FailRequest) -> FailReply,
    }

    pub(crate) async fn acquire(&self, request: v1::AcquireRequest) -> Result<v1::AcquireReply, CallError> {
        let within = CALL + Duration::from_millis(request.wait_ms);
        self.call(within, request, |mut client, request| async move { client.acquire(request).await }).await
    }

    /// Asks one coordinator after another, each for as long as a call may take, until one answers.
    async fn call<Message: Clone, Reply, F>(
        &self,
        within: Duration,
        message: Message,
        call: impl Fn(FleetClient<Channel>, Message) -> F,
    ) -> Result<Reply, CallError>
    where
        F: Future<Output = Result<Response<Reply>, Status>>,
    {
        let mut walk = self.route.walk();
        let mut reasons = Vec::new();
        while let Some(door) = walk.next() {
            let answer = match timeout(within, call(door.client.clone(), message.clone())).await {
                Err(_) => Err(format!("no answer within {} s", within.as_secs())),
                Ok(Ok(reply)) => Ok(Ok(reply.into_inner())),
                Ok(Err(status)) => {
                    if let Some(StandsBy { leader }) = StandsBy::of(&status) {
                        walk.follow(&leader);
                    }
                    refusal(&status).map(Err).ok_or_else(|| cause(&status))
                }
            };
            match answer {
                Ok(answer) => {
                    self.route.serves(door);
                    return answer;
                }
                Err(cause) => reasons.push(format!("cannot reach the coordinator at {}: {cause}", door.url)),
            }
        }
        Err(CallError::Unreachable(reasons.join("; ")))
    }
}

fn endpoint(address: &Address) -> Result<Endpoint, Error> {
    let endpoint = Endpoint::from_shared(address.to_string())
        .map_err(|error| Error::Setting(format!("`coordinator`: `{address}`: {error}")))?;
    Ok(endpoint.connect_timeout(CALL).http2_keep_alive_interval(CALL).keep_alive_timeout(CALL))
}

/// A call that names the span which makes it.
fn traced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let parent = trace::parent_of(&Span::current()).and_then(|parent| parent.parse().ok());
    if let Some(parent) = parent {
        request.metadata_mut().insert(trace::HEADER, parent);
    }
    request
}

/// What a coordinator that serves refuses; none when the same call may be answered otherwise later or elsewhere.
fn refusal(status: &Status) -> Option<CallError> {
    let message = || status.message().to_owned();
    match Reason::of(status) {
        Some(reason) => Some(CallError::Refused(reason, message())),
        None => is_final(status.code()).then(|| CallError::Rejected(message())),
    }
}

/// Whether the same call will be answered in the same way.
fn is_final(code: Code) -> bool {
    match code {
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::Unauthenticated
        | Code::DataLoss => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable => false,
    }
}

/// The bottom of an error's chain; a status of the server's own has only its message.
fn cause(status: &Status) -> String {
    let Some(mut cause) = status.source() else { return status.message().to_owned() };
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_address_is_checked_and_the_wrong_one_named() {
        assert!(Fleet::connect("10.0.0.1:7700, https://head-2.local").is_ok());
        let error = Fleet::connect("10.0.0.1:7700,http://").unwrap_err().to_string();
        assert_eq!(error, "`coordinator`: `http://` is no address of a coordinator: empty host");
    }
}
