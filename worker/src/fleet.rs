//! The coordinator as a worker sees it: unary calls with deadlines, and what a failed call means.

use std::error::Error as _;
use std::time::Duration;

use proto::error::Reason;
use proto::v1;
use proto::v1::fleet_client::FleetClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status};

use crate::error::Error;

/// How long a call may take, besides the time that it asked to wait.
const CALL: Duration = Duration::from_secs(10);
/// Largest answer that is read: one offer may name thousands of inputs.
const MAX_MESSAGE_BYTES: usize = 256 << 20;

/// Why a call did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No answer, or one that says to come back later. Trying again is safe and may help.
    #[error("cannot reach the coordinator at {url}: {cause}")]
    Unreachable {
        /// Its URL.
        url: String,
        /// The innermost cause.
        cause: String,
    },
    /// The coordinator refuses for a reason that the protocol knows.
    #[error("the coordinator refuses: {1}")]
    Refused(Reason, String),
    /// The coordinator will never accept this call.
    #[error("the coordinator rejects the call: {0}")]
    Rejected(String),
}

/// A client. Clones share the channel, which connects with the first call and again after each loss.
#[derive(Clone, Debug)]
pub struct Fleet {
    client: FleetClient<Channel>,
    url: String,
}

macro_rules! unary {
    ($($(#[$doc:meta])* $name:ident($request:ident) -> $reply:ident),+ $(,)?) => {
        $($(#[$doc])*
        pub(crate) async fn $name(&self, request: v1::$request) -> Result<v1::$reply, CallError> {
            let mut client = self.client.clone();
            self.answer(CALL, client.$name(request)).await
        })+
    };
}

impl Fleet {
    /// A client of the coordinator at `url`, over the network.
    ///
    /// # Errors
    /// When the URL makes no sense.
    pub fn connect(url: &str) -> Result<Self, Error> {
        Ok(Self::over(Self::endpoint(url)?.connect_lazy(), url))
    }

    /// Address, deadlines and keep-alive of a channel to the coordinator at `url`. A simulation joins it with a connector of its own
    /// (`connect_with_connector_lazy`) and hands the channel to [`Fleet::over`].
    ///
    /// # Errors
    /// When the URL makes no sense.
    pub fn endpoint(url: &str) -> Result<Endpoint, Error> {
        let with_scheme = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let endpoint = Endpoint::from_shared(with_scheme).map_err(|error| {
            Error::Setting(format!("`coordinator`: `{url}` is no address of a coordinator: {error}"))
        })?;
        Ok(endpoint.connect_timeout(CALL).http2_keep_alive_interval(CALL).keep_alive_timeout(CALL))
    }

    /// A client over a channel that connects again by itself; `url` names the coordinator in messages.
    pub fn over(channel: Channel, url: &str) -> Self {
        let client = FleetClient::new(channel).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Self { client, url: url.to_owned() }
    }

    unary! {
        register(RegisterRequest) -> RegisterReply,
        heartbeat(HeartbeatRequest) -> HeartbeatReply,
        checkpointed(CheckpointedRequest) -> CheckpointedReply,
        complete(CompleteRequest) -> CompleteReply,
        fail(FailRequest) -> FailReply,
    }

    pub(crate) async fn acquire(&self, request: v1::AcquireRequest) -> Result<v1::AcquireReply, CallError> {
        let mut client = self.client.clone();
        let within = CALL + Duration::from_millis(request.wait_ms);
        self.answer(within, client.acquire(request)).await
    }

    async fn answer<T>(
        &self,
        within: Duration,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, CallError> {
        let unreachable = |cause| CallError::Unreachable { url: self.url.clone(), cause };
        match timeout(within, call).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(match Reason::of(&status) {
                Some(reason) => CallError::Refused(reason, status.message().to_owned()),
                None if is_final(status.code()) => CallError::Rejected(status.message().to_owned()),
                None => unreachable(cause(&status)),
            }),
            Err(_) => Err(unreachable(format!("no answer within {} s", within.as_secs()))),
        }
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

    #[test]
    fn an_address_needs_a_host_and_may_lack_a_scheme() {
        assert!(Fleet::endpoint("10.0.0.1:7700").is_ok());
        let error = Fleet::endpoint("http://").unwrap_err().to_string();
        assert!(error.starts_with("`coordinator`: `http://` is no address of a coordinator: "), "{error}");
    }
}
