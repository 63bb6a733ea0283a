//! Why a job waits: the first reason that holds, in words, and what would end it.

use std::time::Duration;

use proto::error::ErrorCode;
use proto::state::JobState;

use crate::offer::{FleetFacts, Quota};
use crate::time::Micros;

/// What is known about a job and what it competes with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Situation {
    /// Its label.
    pub label: String,
    /// Where it stands.
    pub state: JobState,
    /// Its remaining tries.
    pub tries_left: u32,
    /// When it may be offered again.
    pub not_before: Option<Micros>,
    /// Needed jobs without an artifact: label and state of the first few.
    pub needs: Vec<(String, JobState)>,
    /// How many needed jobs have no artifact.
    pub pending_deps: u32,
    /// Ready jobs that go first.
    pub ahead: u64,
    /// The machine where it failed last, by a fault that may be the machine's.
    pub avoid: Option<String>,
    /// The limit of its owner.
    pub quota: Option<Quota>,
    /// Who holds it: name of the worker, since when, and when it last went on.
    pub holder: Option<Holder>,
    /// What failed last.
    pub error: Option<(ErrorCode, String)>,
    /// Lanes and machines that take jobs.
    pub fleet: FleetFacts,
}

/// Who holds a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Name of the worker.
    pub worker: String,
    /// When it was offered.
    pub since: Micros,
    /// When it last went on.
    pub progress_at: Micros,
}

/// Says in lines why a job stands where it stands, the decisive reason first.
pub fn explain(situation: &Situation, now: Micros) -> Vec<String> {
    let mut lines = vec![reason(situation, now)];
    if let Some((code, message)) = &situation.error {
        lines.push(format!("its last failure: {code}: {message}"));
    }
    lines
}

fn reason(situation: &Situation, now: Micros) -> String {
    let Situation { state, tries_left, ahead, fleet, .. } = situation;
    let ago = |time: Micros| seconds(now.since(time));
    match state {
        JobState::Blocked => blocked(situation),
        JobState::Backoff => match situation.not_before {
            Some(time) => {
                format!("it failed and waits {} more, with {tries_left} tries left", seconds(time.since(now)))
            }
            None => "it failed and waits".to_owned(),
        },
        JobState::Ready if fleet.lanes == 0 => "it is ready, but no worker takes jobs".to_owned(),
        JobState::Ready => match (&situation.quota, &situation.avoid) {
            (Some(quota), _) if quota.used >= quota.max_lanes => format!(
                "it is ready, but its owner {} has {} of {} lanes",
                quota.owner, quota.used, quota.max_lanes
            ),
            (_, Some(host)) if *ahead == 0 && fleet.hosts > 1 => {
                format!("it is next, but waits for another machine than {host}, where it failed")
            }
            _ => format!("it is ready; {ahead} jobs go first, on {} lanes", fleet.lanes),
        },
        JobState::Leased | JobState::Running => match &situation.holder {
            Some(holder) if *state == JobState::Running => {
                format!(
                    "{} computes it since {}; it last went on {} ago",
                    holder.worker,
                    ago(holder.since),
                    ago(holder.progress_at)
                )
            }
            Some(holder) => {
                format!("it was offered to {} {} ago and waits there", holder.worker, ago(holder.since))
            }
            None => "a worker holds it".to_owned(),
        },
        JobState::Succeeded => "it has succeeded".to_owned(),
        JobState::Failed => "it has failed for good; `retry` gives it fresh tries".to_owned(),
        JobState::Cancelled => "it was cancelled; `retry` starts it again".to_owned(),
        JobState::Skipped => "it was waived".to_owned(),
    }
}

fn blocked(situation: &Situation) -> String {
    let hopeless = |state: &JobState| matches!(state, JobState::Failed | JobState::Cancelled);
    let named: Vec<_> = situation.needs.iter().map(|(label, state)| format!("{label} ({state})")).collect();
    let more = (situation.pending_deps as usize).saturating_sub(named.len());
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    let never = if situation.needs.iter().any(|(_, state)| hopeless(state)) {
        "; it never starts unless those that ended without a result are retried or waived"
    } else {
        ""
    };
    format!("it needs {}{rest}{never}", named.join(", "))
}

fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready() -> Situation {
        Situation {
            label: "tool".into(),
            state: JobState::Ready,
            tries_left: 2,
            not_before: None,
            needs: Vec::new(),
            pending_deps: 0,
            ahead: 4,
            avoid: None,
            quota: None,
            holder: None,
            error: None,
            fleet: FleetFacts { lanes: 3, hosts: 2, ready: 9 },
        }
    }

    fn first(situation: &Situation) -> String {
        explain(situation, Micros(20_000_000)).remove(0)
    }

    #[test]
    fn the_decisive_reason_comes_first() {
        assert_eq!(first(&ready()), "it is ready; 4 jobs go first, on 3 lanes");
        let nobody = Situation { fleet: FleetFacts::default(), ..ready() };
        assert_eq!(first(&nobody), "it is ready, but no worker takes jobs");
        let quota = Some(Quota { owner: "me".into(), max_lanes: 2, used: 2 });
        assert_eq!(first(&Situation { quota, ..ready() }), "it is ready, but its owner me has 2 of 2 lanes");
        let burnt = Situation { ahead: 0, avoid: Some("n1".into()), ..ready() };
        assert_eq!(first(&burnt), "it is next, but waits for another machine than n1, where it failed");
        let waits = Situation { state: JobState::Backoff, not_before: Some(Micros(27_000_000)), ..ready() };
        assert_eq!(first(&waits), "it failed and waits 7 s more, with 2 tries left");
        let holder = Holder { worker: "w".into(), since: Micros(5_000_000), progress_at: Micros(19_000_000) };
        let running = Situation { state: JobState::Running, holder: Some(holder), ..ready() };
        assert_eq!(first(&running), "w computes it since 15 s; it last went on 1 s ago");
    }

    #[test]
    fn a_job_that_can_never_start_says_so() {
        let needs = vec![("a".to_owned(), JobState::Running), ("b".to_owned(), JobState::Failed)];
        let blocked = Situation { state: JobState::Blocked, needs, pending_deps: 5, ..ready() };
        assert_eq!(
            first(&blocked),
            "it needs a (running), b (failed) and 3 more; it never starts unless those that ended without a result are retried or waived"
        );
        let error = Some((ErrorCode::Data, "line 3".to_owned()));
        assert_eq!(explain(&Situation { error, ..ready() }, Micros(0))[1], "its last failure: data: line 3");
    }
}
