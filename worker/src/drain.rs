//! Whether the worker is on its way out, and until when. One path for every reason: told from outside, the end of the time limit, or
//! the coordinator's wish. Lanes look at the [`Plan`] and do what it asks of them; heartbeats tell that there is one.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// How long a checkpoint may take, from its asking to its record.
pub(crate) const SAVING: Duration = Duration::from_secs(30);

/// A drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    since: Instant,
    /// Jobs that end until then go on; the others are asked for a checkpoint.
    pub(crate) finish_by: Instant,
    /// What is left then is given back as it is.
    pub(crate) deadline: Instant,
    /// Whether the worker leaves afterwards. Such a drain is never called off.
    pub(crate) leaving: bool,
}

/// The plan, where there is one.
#[derive(Debug)]
pub(crate) struct Drain(watch::Sender<Option<Plan>>);

impl Default for Drain {
    fn default() -> Self {
        Self(watch::channel(None).0)
    }
}

impl Drain {
    /// The worker leaves within a grace, of which the last part is for checkpoints.
    pub(crate) fn leave(&self, grace: Duration) {
        let since = Instant::now();
        let deadline = since + grace;
        let finish_by = deadline - SAVING.min(grace / 2);
        self.0.send_replace(Some(Plan { since, finish_by, deadline, leaving: true }));
    }

    /// The coordinator wants the worker drained, with this much time for jobs to end, or no longer wants it.
    pub(crate) fn wish(&self, wish: Option<Duration>) {
        self.0.send_if_modified(|plan| {
            let wanted = match (&plan, wish) {
                (Some(Plan { leaving: true, .. }), _) => return false,
                (_, None) => None,
                (_, Some(grace)) => {
                    let since = plan.map_or_else(Instant::now, |plan| plan.since);
                    let finish_by = since + grace;
                    Some(Plan { since, finish_by, deadline: finish_by + SAVING, leaving: false })
                }
            };
            let changed = *plan != wanted;
            match (&plan, &wanted) {
                (None, Some(_)) => tracing::info!(grace = ?wish, "the coordinator drains this worker"),
                (Some(_), None) => tracing::info!("the coordinator has called the drain off"),
                (None, None) | (Some(_), Some(_)) => {}
            }
            *plan = wanted;
            changed
        });
    }

    /// The plan now.
    pub(crate) fn plan(&self) -> Option<Plan> {
        *self.0.borrow()
    }

    /// Tells of each change.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Plan>> {
        self.0.subscribe()
    }

    /// Waits for a drain to begin.
    pub(crate) async fn begun(&self) {
        // The sender lives in self, so that this waits for a change.
        drop(self.watch().wait_for(Option::is_some).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_wish_counts_from_its_first_telling_and_can_be_taken_back() {
        let (drain, began) = (Drain::default(), Instant::now());
        drain.wish(Some(60 * S));
        tokio::time::advance(5 * S).await;
        let mut changes = drain.watch();
        drain.wish(Some(60 * S));
        assert!(!changes.has_changed().unwrap());
        drain.wish(Some(20 * S));
        let plan = drain.plan().unwrap();
        assert_eq!((plan.finish_by, plan.deadline, plan.leaving), (began + 20 * S, began + 50 * S, false));
        changes.mark_unchanged();
        drain.wish(None);
        assert!(changes.has_changed().unwrap() && drain.plan().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_leaves_is_not_called_back() {
        let (drain, began) = (Drain::default(), Instant::now());
        drain.wish(Some(S));
        drain.leave(10 * S);
        drain.wish(None);
        let plan = drain.plan().unwrap();
        assert_eq!((plan.finish_by, plan.deadline, plan.leaving), (began + 5 * S, began + 10 * S, true));
        drain.leave(600 * S);
        assert_eq!(drain.plan().unwrap().finish_by, began + 570 * S);
    }
}
