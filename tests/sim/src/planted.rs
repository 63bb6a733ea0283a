//! The bug that the simulation must find: completion that checks only whether the job still runs, not which attempt completes it.

use coordinator_store::Store;
use coordinator_store::model::Commit;
use futures::FutureExt;
use proto::pipe::Task;

use crate::world::World;

/// Lets a commit of an older attempt pass for one of the newest.
pub(crate) fn mend(world: &World, mut commit: Commit) -> Commit {
    let facts = world.table.facts().now_or_never().and_then(Result::ok).unwrap_or_default();
    let job = facts.iter().find(|job| job.id == commit.task.job && job.state.is_held());
    let newest = job.map(|job| Task { job: job.id, attempt: job.attempt });
    if let Some((task, worker)) = newest.and_then(|task| Some((task, world.holder_of(task)?))) {
        (commit.task, commit.worker) = (task, worker);
    }
    commit
}
