//! What operators keep in order, and what they ask.

use std::collections::BTreeSet;

use coordinator_core::explain::{Holder, Situation};
use coordinator_core::offer::{FleetFacts, Quota};
use coordinator_core::time::Micros;
use proto::id::{Attempt, Digest, JobId, SweepId};
use proto::pipe::Task;
use proto::state::JobState;

use super::table::{Job, Table};
use crate::error::{Result, StoreError};
use crate::model::{Artifact, ArtifactView, Bearer, NewToken, Source, TokenView, WorkerState};

/// How many needed jobs are named.
const NAMED: usize = 5;

impl Table {
    /// See [`crate::Store::set_quota`].
    pub(super) fn set_quota(&mut self, owner: &str, max_lanes: Option<u64>) {
        match max_lanes {
            Some(lanes) => self.quotas.insert(owner.to_owned(), lanes),
            None => self.quotas.remove(owner),
        };
    }

    /// See [`crate::Store::quotas`].
    pub(super) fn quotas(&self) -> Vec<Quota> {
        let used = |owner: &String| {
            let held = self.jobs.values().filter(|job| job.owner == *owner);
            held.filter_map(|job| job.holder).collect::<BTreeSet<_>>().len() as u64
        };
        let quota = |(owner, max_lanes): (&String, &u64)| Quota {
            owner: owner.clone(),
            max_lanes: *max_lanes,
            used: used(owner),
        };
        self.quotas.iter().map(quota).collect()
    }

    /// See [`crate::Store::roots`].
    pub(super) fn roots(&self) -> Vec<Artifact> {
        let results = self.jobs.values().filter_map(|job| Some(&job.result.as_ref()?.artifact));
        let checkpoints = self.checkpoints.values().map(|checkpoint| &checkpoint.artifact);
        let inputs = self.jobs.values().flat_map(|job| &job.planned.inputs);
        let imports = inputs.filter_map(|input| match &input.source {
            Source::Artifact(artifact) => Some(artifact),
            Source::Job(_) => None,
        });
        let mut roots: Vec<_> = results.chain(checkpoints).chain(imports).cloned().collect();
        roots.sort_by(|a, b| (&a.path, a.digest).cmp(&(&b.path, b.digest)));
        roots.dedup();
        roots
    }

    /// See [`crate::Store::artifacts`].
    pub(super) fn artifacts(&self, sweep: Option<SweepId>) -> Vec<ArtifactView> {
        let wanted = |job: &&Job| sweep.is_none_or(|wanted| job.sweeps.iter().any(|(of, _)| *of == wanted));
        self.jobs.values().filter(wanted).flat_map(|job| self.artifacts_of(job)).collect()
    }

    fn artifacts_of(&self, job: &Job) -> Vec<ArtifactView> {
        let view = |attempt, role: String, artifact: &Artifact| ArtifactView {
            task: Task { job: job.id, attempt },
            kind: job.planned.kind.clone(),
            label: job.planned.label.clone(),
            role,
            artifact: artifact.clone(),
            bytes: None,
        };
        let result = job.result.iter().map(|result| ArtifactView {
            bytes: Some(result.bytes),
            ..view(job.attempt, result.role.clone(), &result.artifact)
        });
        let checkpoints = self.checkpoints.iter().filter(|((id, ..), _)| *id == job.id);
        let mut checkpoints: Vec<_> = checkpoints
            .map(|((_, _, attempt), row)| view(*attempt, "checkpoint".to_owned(), &row.artifact))
            .collect();
        let inputs = job.planned.inputs.iter().filter_map(|input| match &input.source {
            Source::Artifact(artifact) => Some(view(Attempt(0), format!("input {}", input.name), artifact)),
            Source::Job(_) => None,
        });
        let mut inputs: Vec<_> = inputs.collect();
        for group in [&mut checkpoints, &mut inputs] {
            group.sort_by(|a, b| (&a.role, &a.artifact.path).cmp(&(&b.role, &b.artifact.path)));
        }
        result.chain(checkpoints).chain(inputs).collect()
    }

    /// See [`crate::Store::absolve_before`].
    pub(super) fn absolve_before(&mut self, before: Micros) -> u64 {
        let marked = self.condemned.len();
        self.condemned.retain(|_, at| *at >= before);
        (marked - self.condemned.len()) as u64
    }

    /// See [`crate::Store::create_token`].
    pub(super) fn create_token(&mut self, now: Micros, token: NewToken) -> Result<()> {
        if self.tokens.iter().any(|(hash, known)| known.name == token.name || *hash == token.hash) {
            return Err(StoreError::Taken(token.name));
        }
        let NewToken { name, role, hash } = token;
        self.tokens.insert(hash, TokenView { name, role, created_at: now, revoked_at: None });
        Ok(())
    }

    /// See [`crate::Store::revoke_token`].
    pub(super) fn revoke_token(&mut self, now: Micros, name: &str) -> bool {
        let mut named = self.tokens.values_mut().filter(|token| token.name == name);
        named.find(|token| token.revoked_at.is_none()).map(|token| token.revoked_at = Some(now)).is_some()
    }

    /// See [`crate::Store::tokens`].
    pub(super) fn tokens(&self) -> Vec<TokenView> {
        let mut tokens: Vec<_> = self.tokens.values().cloned().collect();
        tokens.sort_by(|a, b| a.name.cmp(&b.name));
        tokens
    }

    /// See [`crate::Store::bearer`].
    pub(super) fn bearer(&self, hash: Digest) -> Option<Bearer> {
        let token = self.tokens.get(&hash).filter(|token| token.revoked_at.is_none())?;
        Some(Bearer { name: token.name.clone(), role: token.role })
    }

    /// See [`crate::Store::situation`].
    pub(super) fn situation(&self, id: JobId) -> Option<Situation> {
        let job = self.jobs.get(&id)?;
        let needs = job.planned.needs();
        let mut open: Vec<_> = needs.iter().filter_map(|key| self.jobs.get(self.by_key.get(key)?)).collect();
        open.retain(|need| need.state != JobState::Succeeded);
        open.sort_by_key(|need| need.id);
        let goes_first = |other: &&Job| other.state == JobState::Ready && other.rank() < job.rank();
        let ahead = self.jobs.values().filter(goes_first).count() as u64;
        let attempt = self.attempts.get(&job.task());
        let worker = job.holder.and_then(|(worker, _)| self.workers.get(&worker));
        let holder = worker.zip(attempt).map(|(worker, attempt)| Holder {
            worker: worker.session.name.clone(),
            since: attempt.started_at,
            progress_at: attempt.progress_at,
        });
        Some(Situation {
            label: job.planned.label.clone(),
            state: job.state,
            tries_left: job.tries_left,
            not_before: job.not_before,
            needs: open.iter().take(NAMED).map(|need| (need.planned.label.clone(), need.state)).collect(),
            pending_deps: job.pending_deps,
            ahead,
            avoid: job.avoid.clone(),
            quota: self.quotas().into_iter().find(|quota| quota.owner == job.owner),
            holder,
            error: job.error.clone(),
            fleet: FleetFacts { ready: ahead, ..self.fleet() },
        })
    }

    /// Lanes and machines that take jobs, and the jobs that are ready.
    pub(super) fn fleet(&self) -> FleetFacts {
        let takes =
            |row: &&super::table::Worker| row.state == WorkerState::Live && !row.takes_none(&self.policy);
        let live = || self.workers.values().filter(takes);
        FleetFacts {
            lanes: live().map(|row| row.session.lanes.len() as u64).sum(),
            hosts: live().map(|row| &row.session.host).collect::<BTreeSet<_>>().len() as u64,
            ready: self.jobs.values().filter(|job| job.state == JobState::Ready).count() as u64,
        }
    }
}
