//! From the types of the job table to messages.

use std::collections::BTreeMap;
use std::time::Duration;

use coordinator_core::eta::{StageWork, estimate};
use coordinator_core::sweep::{Counters, Progress, share_done};
use coordinator_core::time::Micros;
use coordinator_store::model::{
    Artifact, ArtifactView, EventView, FailureView, HeldView, Input, JobView, Offer, ResultView, StageView,
    SweepView, WorkerView,
};
use jobs_spec::job::JobSpec;
use proto::pipe::Task;
use proto::state::JobState;
use proto::v1;
use serde::Deserialize;

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

pub(super) fn task(task: Task) -> v1::Task {
    v1::Task { job: task.job.0, attempt: task.attempt.0 }
}

pub(super) fn artifact(artifact: Artifact) -> v1::Artifact {
    v1::Artifact { path: artifact.path, digest: artifact.digest.to_string() }
}

pub(super) fn listed(view: ArtifactView) -> v1::ListedArtifact {
    v1::ListedArtifact {
        task: Some(task(view.task)),
        stage: view.kind,
        label: view.label,
        role: view.role,
        artifact: Some(artifact(view.artifact)),
        bytes: view.bytes,
    }
}

pub(super) fn offer(offer: Offer) -> v1::Offer {
    let input = |input: Input| v1::Input { name: input.name, artifact: Some(artifact(input.artifact)) };
    let role = serde_json::from_str::<JobSpec>(&offer.spec)
        .map_or_else(|_| offer.kind.clone(), |spec| spec.role().to_owned());
    v1::Offer {
        role,
        task: Some(task(offer.task)),
        key: offer.key.to_string(),
        kind: offer.kind,
        label: offer.label,
        spec: offer.spec,
        fan: offer.fan.map(|fan| fan.to_string()).unwrap_or_default(),
        fan_limits: offer.fan_limits.unwrap_or_default(),
        inputs: offer.inputs.into_iter().map(input).collect(),
        checkpoint_step: offer.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.step),
        checkpoint: offer.checkpoint.map(|checkpoint| artifact(checkpoint.artifact)),
        sweep: offer.sweep,
        halvings: offer.halvings,
        traceparent: String::new(),
    }
}

fn progress(progress: Progress) -> v1::Progress {
    v1::Progress { step: progress.step, total: progress.total, tokens: progress.tokens, loss: progress.loss }
}

pub(super) fn worker(worker: WorkerView, now: Micros) -> v1::Worker {
    let lanes = worker.lanes.into_iter();
    v1::Worker {
        id: worker.id.0,
        name: worker.name,
        host: worker.host,
        state: worker.state.name().to_owned(),
        lanes: lanes.map(|lane| v1::worker::Lane { id: lane.id.0, device: lane.device }).collect(),
        held: worker.held,
        silent_s: now.since(worker.seen_at).as_secs_f64(),
        draining: worker.draining,
    }
}

pub(super) fn event(event: EventView) -> v1::Event {
    v1::Event {
        seq: event.seq,
        at: event.at.0,
        sweep: event.sweep.map_or(0, |sweep| sweep.0),
        job: event.job.map_or(0, |job| job.0),
        attempt: event.attempt.map_or(0, |attempt| attempt.0),
        kind: event.kind,
    }
}

pub(super) fn job(job: JobView, newest: &BTreeMap<Task, Progress>) -> v1::Job {
    let task = Task { job: job.id, attempt: job.attempt };
    v1::Job {
        id: job.id.0,
        key: job.key.to_string(),
        stage: job.stage,
        label: job.label,
        state: job.state.name().to_owned(),
        attempt: job.attempt.0,
        tries_left: job.tries_left,
        worker: job.worker.unwrap_or_default(),
        progress: Some(progress(newest.get(&task).copied().unwrap_or(job.progress))),
        error_code: job.code.map(|code| code.name().to_owned()).unwrap_or_default(),
        error: job.error.unwrap_or_default(),
        artifact: job.artifact.map(artifact),
        started_at: job.started_at.map_or(0, |time| time.0),
        finished_at: job.finished_at.map_or(0, |time| time.0),
    }
}

/// A sweep's status. `newest` is progress that the table does not have yet; `lanes` is how many lanes work.
pub(super) fn sweep(mut view: SweepView, newest: &BTreeMap<Task, Progress>, lanes: u32) -> v1::Sweep {
    for held in &mut view.held {
        if let Some(progress) = newest.get(&held.task) {
            held.progress = *progress;
        }
    }
    let running = |name: &str| view.held.iter().filter(|h| h.stage == name).collect::<Vec<_>>();
    let work: Vec<_> = view.stages.iter().map(|s| stage_work(&s.counters, &running(&s.name))).collect();
    let eta = if view.row.state.is_terminal() { None } else { estimate(&work, lanes) };
    let jobs_of = |stage: &str| {
        let counters = view.stages.iter().find(|s| s.name == stage).map(|s| &s.counters);
        counters.map_or(0, |counters| counters.values().map(|tally| tally.jobs).sum::<u64>())
    };
    let named = |result: &ResultView| {
        let alone = jobs_of(&result.stage) == 1;
        let name = if alone { result.role.clone() } else { format!("{}/{}", result.role, result.label) };
        (name, artifact(result.artifact.clone()))
    };
    v1::Sweep {
        id: view.row.id.0,
        name: view.row.name,
        state: view.row.state.name().to_owned(),
        created_at: view.row.created_at.0,
        finished_at: view.row.finished_at.map_or(0, |time| time.0),
        stages: view.stages.iter().map(|s| stage(s, &running(&s.name))).collect(),
        scores: view.results.iter().filter_map(score).collect(),
        failures: view.failures.into_iter().map(failure).collect(),
        eta_low_s: eta.map(|eta| eta.low.as_secs_f64()),
        eta_high_s: eta.map(|eta| eta.high.as_secs_f64()),
        artifacts: view.results.iter().map(named).collect(),
    }
}

fn stage_work(counters: &Counters, running: &[&HeldView]) -> StageWork {
    let ended = |state: JobState| matches!(state, JobState::Succeeded | JobState::Skipped);
    let mut work = StageWork::default();
    for (state, tally) in counters {
        let weight = (tally.tokens + tally.jobs) as f64;
        if *state == JobState::Succeeded {
            work.done += weight;
            work.done_ms += tally.device_ms;
        }
        if !ended(*state) {
            work.left += weight;
            work.jobs_left += tally.jobs;
        }
    }
    let under_way: f64 = running.iter().map(|held| (1 + held.tokens) as f64 * held.progress.share()).sum();
    work.left = (work.left - under_way).max(0.0);
    work
}

fn stage(stage: &StageView, running: &[&HeldView]) -> v1::Stage {
    let committed = stage.counters.get(&JobState::Succeeded).map_or(0, |tally| tally.tokens);
    let losses: Vec<_> = running.iter().filter_map(|held| held.progress.loss).collect();
    v1::Stage {
        name: stage.name.clone(),
        states: stage.counters.iter().map(|(state, tally)| (state.name().to_owned(), tally.jobs)).collect(),
        jobs: stage.counters.values().map(|tally| tally.jobs).sum(),
        done: share_done(&stage.counters, running.iter().map(|held| (held.tokens, held.progress))),
        tokens: committed + running.iter().map(|held| held.progress.tokens).sum::<u64>(),
        loss: (!losses.is_empty()).then(|| losses.iter().sum::<f64>() / losses.len() as f64),
    }
}

/// The figures of an evaluation, as its runner writes them into its metrics.
#[derive(Deserialize)]
struct ScoreMetrics {
    variant: String,
    category: String,
    correct: u64,
    total: u64,
}

/// A result's score, if it is an evaluation's.
fn score(result: &ResultView) -> Option<v1::Score> {
    let ScoreMetrics { variant, category, correct, total } =
        ScoreMetrics::deserialize(&result.metrics).ok()?;
    // The label, `row/category`, tells the points of a matrix apart; the runner knows only the variant.
    let variant = result.label.rsplit_once('/').map_or(variant, |(row, _)| row.to_owned());
    Some(v1::Score { variant, category, correct, total })
}

fn failure(failure: FailureView) -> v1::Failure {
    v1::Failure {
        job: failure.job.0,
        label: failure.label,
        stage: failure.stage,
        waived: failure.waived,
        code: failure.code.map(|code| code.name().to_owned()).unwrap_or_default(),
        message: failure.message,
    }
}
