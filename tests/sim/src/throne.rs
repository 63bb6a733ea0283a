//! The leader's row in a table that machines share, by the table's clock.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use coordinator_core::policy::Policy;
use coordinator_store::{Lead, Leader, MemoryStore, Observer, Store, StoreError};
use proto::id::Term;

use crate::net;
use crate::table::Table;
use crate::world::World;

/// Who leads, and until when.
#[derive(Clone, Debug)]
pub(crate) struct Reign {
    holder: String,
    address: String,
    term: Term,
    until: Duration,
}

/// One process' claim to lead.
pub(crate) struct Claim {
    world: Arc<World>,
    host: String,
    /// Unique per process start.
    holder: String,
    ttl: Duration,
    /// The table in the term that this process holds, or last held.
    held: Mutex<Arc<MemoryStore>>,
}

impl Claim {
    /// The claim of a process that starts on a machine.
    pub(crate) fn new(world: Arc<World>, host: &str, holder: String, ttl: Duration) -> Self {
        let held = Mutex::new(Arc::clone(&world.table));
        Self { world, host: host.to_owned(), holder, ttl, held }
    }

    fn held(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Does something to the leader's row, as the weather lets it.
    async fn call<T>(
        &self,
        name: &str,
        change: impl Fn(&mut Option<Reign>, Duration) -> T,
    ) -> Result<T, StoreError> {
        let Self { world, host, .. } = self;
        let fate = world.arrive(host).await?;
        let now = world.now();
        let done = world.reign(|reign| change(reign, now));
        world.note(host, format_args!("{name} {fate:?}"));
        world.depart(host, fate).await?;
        Ok(done)
    }
}

#[async_trait]
impl Lead for Claim {
    fn term(&self) -> Term {
        self.held().term()
    }

    async fn try_lead(&self) -> Result<Option<Term>, StoreError> {
        let address = net::url(&self.host);
        let take = |reign: &mut Option<Reign>, now: Duration| {
            let free = reign.as_ref().is_none_or(|reign| reign.until <= now || reign.address == address);
            if !free {
                return None;
            }
            let store = self.world.table.successor();
            let term = store.term();
            let (holder, address) = (self.holder.clone(), address.clone());
            *reign = Some(Reign { holder, address, term, until: now + self.ttl });
            Some(Arc::new(store))
        };
        let Some(store) = self.call("try_lead", take).await? else { return Ok(None) };
        let term = store.term();
        self.world.note(&self.host, format_args!("leads in term {term}"));
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = store;
        Ok(Some(term))
    }

    async fn renew(&self) -> Result<bool, StoreError> {
        let renew = |reign: &mut Option<Reign>, now: Duration| match reign {
            Some(reign) if reign.holder == self.holder && reign.term == self.term() => {
                reign.until = now + self.ttl;
                true
            }
            _ => false,
        };
        self.call("renew", renew).await
    }

    async fn step_down(&self) -> Result<(), StoreError> {
        let leave = |reign: &mut Option<Reign>, now: Duration| {
            if let Some(reign) = reign.as_mut().filter(|reign| reign.holder == self.holder) {
                reign.until = now;
            }
        };
        self.call("step_down", leave).await
    }

    async fn leader(&self) -> Result<Leader, StoreError> {
        let read = |reign: &mut Option<Reign>, now: Duration| match reign {
            Some(Reign { address, term, until, .. }) => {
                Leader { term: *term, address: address.clone(), remaining: until.saturating_sub(now) }
            }
            None => Leader { term: Term(0), address: String::new(), remaining: Duration::ZERO },
        };
        self.call("leader", read).await
    }

    async fn changed(&self) -> Result<(), StoreError> {
        // No hint ever comes: everybody has to look by himself.
        std::future::pending().await
    }

    fn table(&self, _policy: Policy, _observer: Arc<dyn Observer>) -> Arc<dyn Store> {
        Arc::new(Table::new(Arc::clone(&self.world), &self.host, self.held()))
    }
}
