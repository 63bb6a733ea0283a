//! What operators keep in order: access, quotas, garbage.

use coordinator_core::time::Micros;
use proto::id::Digest;
use proto::state::Role;

/// A bearer token as the table keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// What people call it; unique among all tokens ever made.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// SHA-256 of the token.
    pub hash: Digest,
    /// When it ends by itself.
    pub expires_at: Option<Micros>,
}

/// A bearer token as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenView {
    /// What people call it.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it was made.
    pub created_at: Micros,
    /// When it ends by itself.
    pub expires_at: Option<Micros>,
    /// Since when it allows nothing any more.
    pub revoked_at: Option<Micros>,
}

impl TokenView {
    /// Whether it lets anybody in at a time.
    pub fn is_good(&self, now: Micros) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// Who holds, or held, a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    /// The token's name.
    pub name: String,
    /// What it allows.
    pub role: Role,
    /// When it ends by itself.
    pub expires_at: Option<Micros>,
    /// Since when it allows nothing any more.
    pub revoked_at: Option<Micros>,
}
