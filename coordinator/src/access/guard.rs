//! The one layer that every call passes: it asks the table who holds the token, holds the role against the call, keeps callers to their
//! pace, and counts what is refused, here or further in.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use coordinator_core::time::Micros;
use coordinator_store::model::Bearer;
use proto::id::Digest;
use proto::state::Role;
use proto_kit::human;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Code, Status};

use super::cause::Cause;
use super::pace::Pace;

use super::rights::{Right, right};
use super::token;
use crate::server::{Context, by_store};

/// Whom a coordinator serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever can connect, with every right.
    Open,
    /// Holders of tokens.
    Tokens,
}

/// Who is kept to a pace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Caller {
    /// The holder of a token, by its name.
    Holder(String),
    /// Somebody at an address.
    Address(Option<IpAddr>),
}

/// A call that is refused.
struct Refused {
    cause: Option<Cause>,
    status: Status,
}

impl Refused {
    fn new(cause: Cause, code: Code, why: impl Into<String>) -> Self {
        Self { cause: Some(cause), status: Status::new(code, why) }
    }
}

/// See the module.
pub(crate) struct Guard {
    context: Arc<Context>,
    pace: Pace<Caller>,
}

/// Lets a call pass or refuses it.
pub(crate) async fn guarded(State(guard): State<Arc<Guard>>, call: Request, next: Next) -> Response {
    let metrics = Arc::clone(&guard.context.metrics);
    let (call, body) = call.into_parts();
    let is_grpc =
        call.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if let Err(Refused { cause, status }) = guard.admit(&call).await {
        tracing::warn!(path = call.uri.path(), address = ?address(&call), why = status.message(), "a call is refused");
        if let Some(cause) = cause {
            metrics.refused(cause);
        }
        return if is_grpc { status.into_http() } else { page(&status) };
    }
    let response = next.run(Request::from_parts(call, body)).await;
    if let Some(cause) = response.extensions().get::<Status>().and_then(Cause::of) {
        metrics.refused(cause);
    }
    response
}

impl Guard {
    pub(crate) fn new(context: Arc<Context>) -> Self {
        let pace = Pace::new(context.settings.calls_per_second);
        Self { context, pace }
    }

    async fn admit(&self, call: &Parts) -> Result<(), Refused> {
        let path = call.uri.path();
        let somebody = || Caller::Address(address(call));
        let Some(right) = right(path) else {
            self.keep_pace(somebody())?;
            return Err(Refused::new(
                Cause::UnknownCall,
                Code::Unimplemented,
                format!("there is no call {path}"),
            ));
        };
        let needed = match (self.context.settings.access, right) {
            (Access::Open, _) | (_, Right::Anyone) => return self.keep_pace(somebody()),
            (Access::Tokens, Right::Needs(role)) => role,
        };
        let Some(token) = bearer(&call.headers) else {
            self.keep_pace(somebody())?;
            let why = "this coordinator wants a token: set QUIVER_TOKEN or name a file by --token-file";
            return Err(Refused::new(Cause::NoToken, Code::Unauthenticated, why));
        };
        let holder = self.holder(token::hash(token), somebody).await?;
        living(&holder, self.context.now())?;
        allowed(&holder, needed, path)?;
        self.keep_pace(Caller::Holder(holder.name))
    }

    /// Who holds, or held, the token with a hash. Looking it up in the table counts as a call of the address.
    async fn holder(&self, hash: Digest, somebody: impl FnOnce() -> Caller) -> Result<Bearer, Refused> {
        let now = self.context.now();
        if let Some(bearer) = self.context.holders.lately(hash, now) {
            return Ok(bearer);
        }
        self.keep_pace(somebody())?;
        let looked_up = self.context.store.bearer(hash).await;
        let found = looked_up.map_err(|error| Refused { cause: None, status: by_store(error) })?;
        let Some(bearer) = found else {
            return Err(Refused::new(
                Cause::UnknownToken,
                Code::Unauthenticated,
                "the token is not known here",
            ));
        };
        self.context.holders.found(hash, bearer.clone(), now);
        Ok(bearer)
    }

    fn keep_pace(&self, caller: Caller) -> Result<(), Refused> {
        let now = Duration::from_micros(u64::try_from(self.context.now().0).unwrap_or_default());
        self.pace.admit(caller, now).map_err(|wait| {
            let why = format!("too many calls: wait {} ms", wait.as_millis().max(1));
            Refused::new(Cause::Rate, Code::ResourceExhausted, why)
        })
    }
}

/// Refuses a token that is no longer good.
fn living(holder: &Bearer, now: Micros) -> Result<(), Refused> {
    let Bearer { name, revoked_at, expires_at, .. } = holder;
    if let Some(at) = revoked_at {
        let why = format!("the token `{name}` was revoked at {}", human::time(at.0));
        return Err(Refused::new(Cause::RevokedToken, Code::Unauthenticated, why));
    }
    match expires_at.filter(|end| *end <= now) {
        None => Ok(()),
        Some(end) => {
            let why = format!("the token `{name}` ended at {}", human::time(end.0));
            Err(Refused::new(Cause::ExpiredToken, Code::Unauthenticated, why))
        }
    }
}

/// Refuses a token of too small a role.
fn allowed(holder: &Bearer, needed: Role, path: &str) -> Result<(), Refused> {
    let Bearer { name, role, .. } = holder;
    if role.includes(needed) {
        return Ok(());
    }
    let call = path.rsplit('/').next().unwrap_or_default();
    let why = format!("the token `{name}` has the role {role}; {call} needs {needed}");
    Err(Refused::new(Cause::Role, Code::PermissionDenied, why))
}

/// The token that a call shows.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// Where a call comes from, over TCP.
fn address(call: &Parts) -> Option<IpAddr> {
    Some(call.extensions.get::<TcpConnectInfo>()?.remote_addr()?.ip())
}

/// A refusal as browsers and scrapers read it.
fn page(status: &Status) -> Response {
    let code = match status.code() {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::Unimplemented => StatusCode::NOT_FOUND,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    (code, format!("{}\n", status.message())).into_response()
}
