//! Worker sessions: opened, renewed, expired, and what becomes of the jobs they hold.

use std::collections::BTreeSet;
use std::time::Duration;

use coordinator_core::lease::{Reattach, has_expired, is_lost_offer, on_reattach};
use coordinator_core::time::Micros;
use proto::id::WorkerId;
use proto::pipe::Task;
use proto::state::{JobState, Outcome};

use super::table::{Table, Worker};
use crate::error::{Result, StoreError};
use crate::model::{Beat, NewSession, Registered, Told, WorkerState};

impl Table {
    /// See [`crate::Store::register`].
    pub(super) fn register(
        &mut self,
        now: Micros,
        session: NewSession,
        held: Vec<Task>,
    ) -> Result<Registered> {
        let name = session.name.clone();
        let worker = self.open(now, session)?;
        let older = self.workers.iter_mut().filter(|(id, row)| {
            **id != worker && row.session.name == name && row.state != WorkerState::Superseded
        });
        let mut replaced = Vec::new();
        for (id, row) in older {
            row.state = WorkerState::Superseded;
            replaced.push(*id);
        }
        for id in replaced {
            self.take_back(now, &self.held_by(id), Outcome::Expired)?;
        }
        let mut registered = Registered { worker, keep: Vec::new(), fenced: Vec::new() };
        for task in held {
            let facts = self.attempt_facts(worker, task);
            match facts.map_or(Reattach::Fenced, |facts| on_reattach(task.attempt, &facts)) {
                Reattach::Keep => registered.keep.push(task),
                Reattach::Revive => {
                    self.revive(now, task)?;
                    registered.keep.push(task);
                }
                Reattach::Fenced => registered.fenced.push(task),
            }
        }
        let mut unknown = self.held_by(worker);
        unknown.retain(|task| !registered.keep.contains(task));
        self.take_back(now, &unknown, Outcome::Released)?;
        Ok(registered)
    }

    /// Finds or creates the session's row and renews its lease.
    fn open(&mut self, now: Micros, session: NewSession) -> Result<WorkerId> {
        let same =
            |row: &Worker| row.session.name == session.name && row.session.incarnation == session.incarnation;
        let found = self.workers.iter().find(|(_, row)| same(row)).map(|(id, row)| (*id, row.state));
        let id = match found {
            Some((_, WorkerState::Superseded)) => {
                let NewSession { name, incarnation, .. } = session;
                return Err(StoreError::Superseded { name, incarnation });
            }
            Some((id, WorkerState::Live | WorkerState::Lost)) => id,
            None => WorkerId(self.workers.len() as i64 + 1),
        };
        let lease_expires_at = now.after(self.policy.lease_ttl);
        let (drain, blamed) = self.workers.get(&id).map_or((None, 0), |row| (row.drain, row.blamed));
        let state = WorkerState::Live;
        let row = Worker { session, state, lease_expires_at, seen_at: now, drain, blamed };
        self.workers.insert(id, row);
        Ok(id)
    }

    /// Gives an expired attempt back to its worker under the same number.
    fn revive(&mut self, now: Micros, task: Task) -> Result<()> {
        let missing = || StoreError::missing("attempt to revive");
        let row = self.attempts.get_mut(&task).ok_or_else(missing)?;
        row.end = None;
        let holder = Some((row.worker, row.lane));
        self.move_job(now, task.job, JobState::Leased, |job| job.holder = holder)
    }

    /// See [`crate::Store::heartbeat`].
    pub(super) fn heartbeat(&mut self, now: Micros, beat: &Beat) -> Result<Told> {
        let Beat { worker, ref held, leaving } = *beat;
        self.require_session(worker)?;
        let lease_expires_at = now.after(self.policy.lease_ttl);
        if let Some(row) = self.workers.get_mut(&worker) {
            row.lease_expires_at = lease_expires_at;
            row.seen_at = now;
            row.session.leaving = leaving;
        }
        let believed = self.held_by(worker);
        let offered: Vec<_> = believed
            .iter()
            .filter(|task| self.jobs.get(&task.job).is_some_and(|job| job.state == JobState::Leased))
            .copied()
            .collect();
        let started = held.iter().filter(|h| h.running && offered.contains(&h.task)).map(|h| h.task);
        for task in started.collect::<BTreeSet<_>>() {
            self.move_job(now, task.job, JobState::Running, |_| {})?;
        }
        let is_lost = |task: &Task| {
            let offered_at = self.attempts.get(task).map(|row| row.started_at);
            offered_at.is_some_and(|at| is_lost_offer(at, &self.policy, now))
                && !held.iter().any(|h| h.task == *task)
        };
        let lost: Vec<_> = offered.into_iter().filter(is_lost).collect();
        self.take_back(now, &lost, Outcome::Released)?;
        let fenced = held.iter().map(|h| h.task).filter(|task| !believed.contains(task)).collect();
        Ok(Told { fenced, drain: self.workers.get(&worker).and_then(|row| row.drain) })
    }

    /// See [`crate::Store::drain`].
    pub(super) fn drain(&mut self, name: &str, order: Option<Duration>) -> bool {
        let named = |row: &&mut Worker| row.session.name == name && row.state != WorkerState::Superseded;
        let Some(row) = self.workers.values_mut().find(named) else { return false };
        row.drain = order;
        if order.is_none() {
            row.blamed = 0;
        }
        true
    }

    /// See [`crate::Store::expire`].
    pub(super) fn expire(&mut self, now: Micros, serving_since: Micros) -> Result<u64> {
        let mut silent = Vec::new();
        for (id, row) in self.workers.iter_mut().filter(|(_, row)| row.state == WorkerState::Live) {
            if has_expired(row.lease_expires_at, serving_since, &self.policy, now) {
                row.state = WorkerState::Lost;
                silent.push(*id);
            }
        }
        let orphans: Vec<_> = silent.into_iter().flat_map(|id| self.held_by(id)).collect();
        self.take_back(now, &orphans, Outcome::Expired)?;
        Ok(orphans.len() as u64)
    }
}
