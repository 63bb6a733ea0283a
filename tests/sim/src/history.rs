//! What has happened so far, and whether the next step may follow it. The rules are those of the protocol; the table's own view of itself
//! is checked besides.

use std::collections::BTreeMap;

use coordinator_core::invariants::{JobFacts, broken, broken_between};
use coordinator_store::Store;
use coordinator_store::model::{Artifact, JobFilter};
use futures::FutureExt;
use proto::id::{JobId, LaneId, SweepId, Term, WorkerId};
use proto::pipe::Task;
use proto::state::{JobState, Outcome};

use crate::objects;
use crate::world::World;

/// A write that a coordinator carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    /// A sweep was recorded.
    Submit,
    /// Jobs were cancelled.
    Cancel,
    /// Ended jobs were begun again.
    Retry,
    /// Jobs were waived.
    Waive,
    /// A worker's process registered with what it holds.
    Register(String, String, Vec<Task>),
    /// A lane of a session was offered jobs.
    Claim(WorkerId, LaneId, Vec<Task>),
    /// Sessions were renewed.
    Heartbeat(Vec<WorkerId>),
    /// Progress was written down.
    Progress,
    /// A session recorded a checkpoint.
    Checkpoint(WorkerId, Task, u64),
    /// A session committed an attempt.
    Complete(WorkerId, Task),
    /// A session ended an attempt; whether it only gives it back.
    Fail(WorkerId, Task, bool),
    /// The loops' passes.
    Expire,
    /// See [`Deed::Expire`].
    Stall,
    /// See [`Deed::Expire`].
    Promote,
    /// A worker was ordered to drain.
    Drain,
    /// Garbage, quotas, tokens.
    Upkeep,
}

impl Deed {
    /// Whether it happens all the time.
    pub(crate) const fn is_routine(&self) -> bool {
        matches!(self, Self::Heartbeat(_) | Self::Progress | Self::Expire | Self::Stall | Self::Promote)
    }
}

/// A job as it was after the last step.
#[derive(Clone, Debug)]
struct Seen {
    facts: JobFacts,
    tries_left: u32,
    artifact: Option<Artifact>,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    jobs: BTreeMap<JobId, Seen>,
    /// Every attempt ever offered, and to whom.
    offered: BTreeMap<Task, WorkerId>,
    term: Option<Term>,
}

impl History {
    /// Whom an attempt was offered to.
    pub(crate) fn holder_of(&self, task: Task) -> Option<WorkerId> {
        self.offered.get(&task).copied()
    }

    /// Judges the table after a write of a coordinator of `term`.
    ///
    /// # Errors
    /// The rule that is broken.
    pub(crate) fn judge(
        &mut self,
        world: &World,
        term: Term,
        deed: &Deed,
        accepted: bool,
    ) -> Result<(), String> {
        let now = look(world);
        let before: Vec<_> = self.jobs.values().map(|job| job.facts.clone()).collect();
        let after: Vec<_> = now.values().map(|job| job.facts.clone()).collect();
        if let Some(found) = broken(&after).first().or(broken_between(&before, &after).first()) {
            return Err(format!("{found} after {deed:?}"));
        }
        let changed = before != after;
        if self.term.is_some_and(|newest| term < newest) && (changed || accepted) {
            return Err(format!("a write of term {term} is accepted after one of {:?}: {deed:?}", self.term));
        }
        if accepted {
            self.term = Some(term);
        }
        if let Deed::Claim(worker, _, tasks) = deed {
            for task in tasks {
                if let Some(other) = self.offered.insert(*task, *worker) {
                    return Err(format!("{task:?} is offered to {worker} and was to {other}"));
                }
            }
        }
        if let Deed::Complete(worker, task) | Deed::Checkpoint(worker, task, _) = deed
            && accepted
        {
            self.may_write(*worker, *task)?;
        }
        for (id, job) in &now {
            let was = self.jobs.get(id);
            if let Some(was) = was {
                may_follow(was, job, deed)?;
            }
            if was.is_none_or(|was| was.artifact != job.artifact) {
                holds_what_it_says(world, job)?;
            }
        }
        self.jobs = now;
        Ok(())
    }

    /// Whether an attempt could write before this step. One whose job has succeeded is only told the winner.
    fn may_write(&self, worker: WorkerId, task: Task) -> Result<(), String> {
        let Some(was) = self.jobs.get(&task.job) else { return Err(format!("{task:?} of no job writes")) };
        let succeeded = was.facts.state == JobState::Succeeded;
        let lives = was.facts.attempt == task.attempt && was.facts.outcomes.get(&task.attempt) == Some(&None);
        if succeeded || (lives && self.offered.get(&task) == Some(&worker)) {
            return Ok(());
        }
        Err(format!("{task:?} of session {worker} writes, but the job is {:?}", was.facts))
    }
}

/// What the table shows of its jobs.
fn look(world: &World) -> BTreeMap<JobId, Seen> {
    let answered = |answer: Option<_>| answer.and_then(Result::ok);
    let facts: Vec<JobFacts> = answered(world.table.facts().now_or_never()).unwrap_or_default();
    let filter = JobFilter { sweep: SweepId(1), stage: None, state: None, limit: 1000 };
    let page = world.table.jobs(filter).now_or_never().and_then(Result::ok);
    let mut views: BTreeMap<_, _> =
        page.into_iter().flat_map(|page| page.jobs).map(|job| (job.id, job)).collect();
    let seen = facts.into_iter().map(|facts| {
        let view = views.remove(&facts.id);
        let tries_left = view.as_ref().map_or(0, |view| view.tries_left);
        (facts.id, Seen { tries_left, artifact: view.and_then(|view| view.artifact), facts })
    });
    seen.collect()
}

/// Whether a job may change so by a step.
fn may_follow(was: &Seen, job: &Seen, deed: &Deed) -> Result<(), String> {
    let id = job.facts.id;
    if job.facts.attempt != was.facts.attempt && !matches!(deed, Deed::Claim(..)) {
        return Err(format!("{deed:?} begins an attempt of job {id}"));
    }
    if was.facts.state.is_terminal() && job.facts.state != was.facts.state && *deed != Deed::Retry {
        return Err(format!(
            "{deed:?} takes job {id} from its end {} to {}",
            was.facts.state, job.facts.state
        ));
    }
    if was.artifact.is_some() && was.artifact != job.artifact {
        return Err(format!("{deed:?} changes the result of job {id}"));
    }
    let pays = matches!(deed, Deed::Fail(_, _, false) | Deed::Stall | Deed::Retry);
    if was.tries_left != job.tries_left && !pays {
        return Err(format!("{deed:?} costs job {id} a try"));
    }
    for (attempt, outcome) in &was.facts.outcomes {
        let now = job.facts.outcomes.get(attempt);
        let revived =
            *outcome == Some(Outcome::Expired) && now == Some(&None) && matches!(deed, Deed::Register(..));
        if outcome.is_some() && now != Some(outcome) && !revived {
            return Err(format!(
                "{deed:?} changes how attempt {attempt} of job {id} ended: {outcome:?}, {now:?}"
            ));
        }
    }
    Ok(())
}

/// Whether a committed result is that of the attempt that won, and whole.
fn holds_what_it_says(world: &World, job: &Seen) -> Result<(), String> {
    let Some(artifact) = &job.artifact else { return Ok(()) };
    let winner = format!("/{}", job.facts.attempt);
    if !artifact.path.ends_with(&winner) {
        return Err(format!(
            "job {} was won by attempt {} with {}",
            job.facts.id, job.facts.attempt, artifact.path
        ));
    }
    let whole = objects::whole(&world.objects, artifact);
    whole.map(drop).map_err(|what| format!("the result of job {}: {what}", job.facts.id))
}
