//! What operators do with bearer tokens. Only hashes come here.

use std::time::Duration;

use coordinator_core::time::Micros;
use coordinator_store::model::{NewToken, TokenView};
use proto::v1;
use tonic::Status;

use super::{Context, refuse};

/// Longest name of a token.
const LONGEST_NAME: usize = 128;

/// Records a token.
pub(super) async fn create(
    context: &Context,
    message: v1::CreateTokenRequest,
) -> Result<v1::CreateTokenReply, Status> {
    let stamp = context.stamp();
    let token = new_token(message, stamp.now)?;
    tracing::info!(name = token.name, role = %token.role, "a token is made");
    context.store.create_token(stamp, token).await.map_err(refuse::by_store)?;
    context.holders.forget();
    Ok(v1::CreateTokenReply {})
}

/// A token from a message.
pub(crate) fn new_token(message: v1::CreateTokenRequest, now: Micros) -> Result<NewToken, Status> {
    let v1::CreateTokenRequest { name, role, hash, lifetime_ms } = message;
    if name.trim() != name || !(1..=LONGEST_NAME).contains(&name.len()) || name.chars().any(char::is_control)
    {
        return Err(refuse::field("name", "1 to 128 characters in one line, none of them a space at an end"));
    }
    Ok(NewToken {
        role: role.parse().map_err(|error| refuse::field("role", error))?,
        hash: hash.parse().map_err(|error| refuse::field("hash", error))?,
        expires_at: lifetime_ms.map(|ms| now.after(Duration::from_millis(ms))),
        name,
    })
}

/// All tokens.
pub(super) async fn list(context: &Context) -> Result<v1::TokensReply, Status> {
    let tokens = context.store.tokens().await.map_err(refuse::by_store)?;
    Ok(reply(tokens))
}

/// Tokens as a message.
pub(crate) fn reply(tokens: Vec<TokenView>) -> v1::TokensReply {
    let token = |TokenView { name, role, created_at, expires_at, revoked_at }| v1::tokens_reply::Token {
        name,
        role: role.name().to_owned(),
        created_at: created_at.0,
        expires_at: expires_at.unwrap_or_default().0,
        revoked_at: revoked_at.unwrap_or_default().0,
    };
    v1::TokensReply { tokens: tokens.into_iter().map(token).collect() }
}

/// What is said where a token cannot be revoked.
pub(crate) fn nothing_to_revoke(name: &str) -> Status {
    Status::not_found(format!("there is no token `{name}`, or it was revoked before"))
}

/// Takes a token's rights away.
pub(super) async fn revoke(
    context: &Context,
    message: v1::RevokeTokenRequest,
) -> Result<v1::RevokeTokenReply, Status> {
    let v1::RevokeTokenRequest { name } = message;
    if !context.store.revoke_token(context.stamp(), &name).await.map_err(refuse::by_store)? {
        return Err(nothing_to_revoke(&name));
    }
    context.holders.forget();
    tracing::info!(name, "a token is revoked");
    Ok(v1::RevokeTokenReply {})
}
