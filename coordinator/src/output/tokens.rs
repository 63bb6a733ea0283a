//! Tokens for people and programs.

use proto::state::Role;
use proto::v1;
use proto_kit::human;
use serde::Serialize;

use super::table;

/// All tokens.
pub fn tokens_table(reply: &v1::TokensReply) -> String {
    let mut table = table::new(&["token", "role", "made", "ends", "revoked"]);
    let time = |micros: i64| if micros == 0 { String::new() } else { human::time(micros) };
    for v1::tokens_reply::Token { name, role, created_at, expires_at, revoked_at } in &reply.tokens {
        table.add_row([name.clone(), role.clone(), time(*created_at), time(*expires_at), time(*revoked_at)]);
    }
    table.to_string()
}

/// A token that was made; the one place that shows it.
#[derive(Serialize)]
pub struct NewToken<'a> {
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// The token.
    pub token: &'a str,
}

/// All tokens, without what opens. Times are microseconds since 1970.
#[derive(Debug, Serialize)]
pub struct Tokens {
    tokens: Vec<Token>,
}

#[derive(Debug, Serialize)]
struct Token {
    name: String,
    role: String,
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revoked_at: Option<i64>,
}

impl From<v1::TokensReply> for Tokens {
    fn from(reply: v1::TokensReply) -> Self {
        let some = |micros: i64| (micros != 0).then_some(micros);
        let token = |token: v1::tokens_reply::Token| Token {
            name: token.name,
            role: token.role,
            created_at: token.created_at,
            expires_at: some(token.expires_at),
            revoked_at: some(token.revoked_at),
        };
        Self { tokens: reply.tokens.into_iter().map(token).collect() }
    }
}
