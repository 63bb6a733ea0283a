//! Holders of tokens that were looked up lately, so that not every call asks the table.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use coordinator_core::time::Micros;
use coordinator_store::model::Bearer;
use proto::id::Digest;

/// How long a holder is remembered: until then a token that was revoked behind this coordinator's back is still good.
const REMEMBERED: Duration = Duration::from_secs(5);

/// See the module. Only tokens that exist are remembered, so that there are never more than the table has.
#[derive(Debug, Default)]
pub(crate) struct Holders(Mutex<HashMap<Digest, (Bearer, Micros)>>);

impl Holders {
    /// Who was found lately.
    pub(super) fn lately(&self, hash: Digest, now: Micros) -> Option<Bearer> {
        self.lock().get(&hash).filter(|(_, until)| now < *until).map(|(bearer, _)| bearer.clone())
    }

    /// Notes who was found now.
    pub(super) fn found(&self, hash: Digest, bearer: Bearer, now: Micros) {
        self.lock().insert(hash, (bearer, now.after(REMEMBERED)));
    }

    /// Forgets everybody, because a token has changed.
    pub(crate) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, (Bearer, Micros)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proto::state::Role;

    use super::*;

    #[test]
    fn holders_are_remembered_for_a_while_and_forgotten_at_a_change() {
        let (holders, hash) = (Holders::default(), Digest::new([1; 32]));
        let bearer = Bearer { name: "ann".into(), role: Role::Viewer, expires_at: None, revoked_at: None };
        assert_eq!(holders.lately(hash, Micros(0)), None);
        holders.found(hash, bearer.clone(), Micros(0));
        assert_eq!(holders.lately(hash, Micros(4_999_999)), Some(bearer));
        assert_eq!(holders.lately(hash, Micros(5_000_000)), None);
        holders.forget();
        assert_eq!(holders.lately(hash, Micros(0)), None);
    }
}
