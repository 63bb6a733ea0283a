//! A lane that drains: what has not begun goes back at once, what will not end in time is asked for a checkpoint and goes back with it.

use proto::pipe::ToRunner;
use tokio::time::Instant;

use super::Lane;
use super::jobs::{Assigned, Stage};
use crate::drain::Plan;
use crate::outbox::Failure;

impl Lane {
    /// Does what the drain asks for at this moment, if there is one. Repeating it changes nothing.
    pub(super) fn drain(&mut self) {
        let Some(plan) = self.node.drain.plan() else { return self.call_off() };
        let now = Instant::now();
        let mut back = Vec::new();
        for assigned in &mut self.jobs {
            match assigned.stage {
                Stage::Preparing | Stage::Ready(_) => {
                    back.push((assigned.task(), "the worker drains and had not begun"));
                }
                Stage::Sent(_) | Stage::Running | Stage::Leaving | Stage::Stopped if now >= plan.deadline => {
                    back.push((assigned.task(), "the worker drains and its grace is over"));
                }
                Stage::Sent(_) | Stage::Running if !ends_in_time(assigned, now, plan) => {
                    let task = assigned.task();
                    if let Some(runner) = &mut self.runner {
                        tracing::info!(job = %task.job, "the job is asked for a checkpoint");
                        runner.send(ToRunner::Checkpoint { task });
                    }
                    assigned.stage = Stage::Leaving;
                }
                Stage::Sent(_) | Stage::Running | Stage::Leaving | Stage::Stopped => {}
            }
        }
        for (task, why) in back {
            self.stop_in_runner(task);
            self.fail(task, Failure::released(why));
        }
        self.tell_drain();
    }

    /// When the drain needs the next step even without news.
    pub(super) fn drain_alarm(&self) -> Option<Instant> {
        let plan = self.node.drain.plan().filter(|_| !self.jobs.is_empty())?;
        let undecided =
            self.jobs.iter().any(|assigned| matches!(assigned.stage, Stage::Sent(_) | Stage::Running));
        Some(if undecided { plan.finish_by } else { plan.deadline })
    }

    /// Jobs that run until their checkpoint is written go on after it.
    fn call_off(&mut self) {
        if self.drain_told.take().is_some() {
            for assigned in &mut self.jobs {
                if matches!(assigned.stage, Stage::Leaving) {
                    assigned.stage = Stage::Running;
                }
            }
        }
    }

    fn tell_drain(&mut self) {
        let jobs = self.jobs.len();
        if self.drain_told.replace(jobs) != Some(jobs) {
            match jobs {
                0 => tracing::info!("the lane is drained"),
                jobs => tracing::info!(jobs, "the lane drains"),
            }
        }
    }
}

/// Whether a job is expected to end before those that remain are saved. One that does not tell its pace is not.
fn ends_in_time(assigned: &Assigned, now: Instant, plan: Plan) -> bool {
    assigned.pace.remaining(now).is_some_and(|rest| now + rest < plan.finish_by)
}
