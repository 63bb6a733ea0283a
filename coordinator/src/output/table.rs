//! Tables of plans, sweeps, jobs and workers.

use std::time::{Duration, UNIX_EPOCH};

use comfy_table::{CellAlignment, LineStyle, Table, TableStyle};
use indicatif::HumanBytes;
use proto::v1;

/// What submitting would do, per stage.
pub fn plan_table(plan: &v1::PlanReply) -> String {
    let mut table = new(&["stage", "jobs", "new", "cached", "running"]);
    for stage in &plan.stages {
        table.add_row([
            stage.stage.clone(),
            stage.jobs.to_string(),
            stage.fresh.to_string(),
            stage.cached.to_string(),
            stage.running.to_string(),
        ]);
    }
    align_right(&mut table, 1..5);
    table.to_string()
}

/// Sweeps with their stages.
pub fn sweeps_table(sweeps: &[v1::Sweep]) -> String {
    let mut table =
        new(&["sweep", "name", "state", "stage", "jobs", "done", "running", "failed", "loss", "left"]);
    for sweep in sweeps {
        let left = left(sweep).unwrap_or_default();
        for (i, stage) in sweep.stages.iter().enumerate() {
            let count =
                |states: &[&str]| -> u64 { states.iter().filter_map(|state| stage.states.get(*state)).sum() };
            let first = |text: String| if i == 0 { text } else { String::new() };
            table.add_row([
                first(sweep.id.to_string()),
                first(sweep.name.clone()),
                first(sweep.state.clone()),
                stage.name.clone(),
                stage.jobs.to_string(),
                format!("{:.0}%", 100.0 * stage.done),
                count(&["leased", "running"]).to_string(),
                count(&["failed", "cancelled"]).to_string(),
                stage.loss.map(|loss| format!("{loss:.3}")).unwrap_or_default(),
                first(left.clone()),
            ]);
        }
    }
    align_right(&mut table, 4..9);
    table.to_string()
}

/// Workers with their lanes.
pub fn workers_table(workers: &[v1::Worker]) -> String {
    let mut table = new(&["worker", "name", "host", "state", "lanes", "jobs", "silent"]);
    for worker in workers {
        let lanes = worker.lanes.iter().map(|lane| lane.device.as_str()).collect::<Vec<_>>().join(" ");
        table.add_row([
            worker.id.to_string(),
            worker.name.clone(),
            worker.host.clone(),
            if worker.draining { format!("{}, takes no jobs", worker.state) } else { worker.state.clone() },
            lanes,
            worker.held.to_string(),
            format!("{:.0}s", worker.silent_s),
        ]);
    }
    align_right(&mut table, 5..7);
    table.to_string()
}

/// Jobs, one a row.
pub fn jobs_table(jobs: &[v1::Job]) -> String {
    let mut table = new(&["job", "stage", "label", "state", "attempt", "progress", "loss", "error"]);
    for job in jobs {
        let progress = job.progress.as_ref();
        let error = if job.error_code.is_empty() {
            String::new()
        } else {
            format!("{}: {}", job.error_code, job.error)
        };
        table.add_row([
            job.id.to_string(),
            job.stage.clone(),
            job.label.clone(),
            job.state.clone(),
            job.attempt.to_string(),
            progress.filter(|p| p.total > 0).map(|p| format!("{}/{}", p.step, p.total)).unwrap_or_default(),
            progress.and_then(|p| p.loss).map(|loss| format!("{loss:.3}")).unwrap_or_default(),
            error,
        ]);
    }
    align_right(&mut table, 4..7);
    table.to_string()
}

/// Limits of owners.
pub fn quotas_table(reply: &v1::QuotaReply) -> String {
    let mut table = new(&["owner", "lanes", "in use"]);
    for limit in &reply.limits {
        table.add_row([limit.owner.clone(), limit.max_lanes.to_string(), limit.used.to_string()]);
    }
    align_right(&mut table, 1..3);
    table.to_string()
}

/// Artifacts with the jobs that made or read them.
pub fn artifacts_table(artifacts: &[v1::ListedArtifact]) -> String {
    let mut table = new(&["job", "stage", "label", "role", "attempt", "size", "manifest"]);
    for listed in artifacts {
        let v1::Task { job, attempt } = listed.task.unwrap_or_default();
        table.add_row([
            job.to_string(),
            listed.stage.clone(),
            listed.label.clone(),
            listed.role.clone(),
            if attempt == 0 { String::new() } else { attempt.to_string() },
            listed.bytes.map(|bytes| HumanBytes(bytes).to_string()).unwrap_or_default(),
            listed.artifact.as_ref().map(|artifact| artifact.path.clone()).unwrap_or_default(),
        ]);
    }
    align_right(&mut table, 4..6);
    table.to_string()
}

/// What nothing refers to, by kind, and what became of it.
pub fn garbage_table(report: &v1::CollectReply, dry_run: bool) -> String {
    let mut table = new(&["kind", "objects", "size"]);
    for kind in &report.garbage {
        table.add_row([kind.kind.clone(), kind.objects.to_string(), HumanBytes(kind.bytes).to_string()]);
    }
    align_right(&mut table, 1..3);
    let fate = match (report.garbage.is_empty(), dry_run) {
        (true, _) => return format!("all of {} objects are needed or too young", report.listed),
        (_, true) => format!("would be deleted of {} objects", report.listed),
        _ => format!(
            "{} objects deleted ({}), {} stay because they were committed meanwhile",
            report.deleted,
            HumanBytes(report.deleted_bytes),
            report.spared
        ),
    };
    format!("{table}\n{fate}")
}

/// An entry of the journal.
pub fn event_line(event: &v1::Event) -> String {
    let v1::Event { seq, at, sweep, job, attempt, kind } = event;
    let time = UNIX_EPOCH + Duration::from_micros(u64::try_from(*at).unwrap_or(0));
    let time = humantime::format_rfc3339_millis(time);
    match (job, sweep) {
        (0, sweep) => format!("{seq} {time} {kind} sweep {sweep}"),
        (job, _) => format!("{seq} {time} {kind} job {job} attempt {attempt}"),
    }
}

/// What a change of jobs would mean.
pub fn preview_line(reply: &v1::SelectReply) -> String {
    let mut states: Vec<_> = reply.states.iter().map(|(state, jobs)| format!("{jobs} {state}")).collect();
    states.sort();
    let lost = match reply.running_s {
        0.0 => String::new(),
        seconds => format!("; {seconds:.0} s of device time are under way in them"),
    };
    match reply.changed {
        0 => "no job would change".to_owned(),
        jobs => format!("{jobs} jobs would change ({}){lost}", states.join(", ")),
    }
}

/// `pretrain adder: oom: 80 GB are not enough`, or `pretrain adder (waived): …`.
pub fn failure_line(failure: &v1::Failure) -> String {
    let v1::Failure { stage, label, waived, code, message, .. } = failure;
    let mut line = format!("{stage} {label}{}", if *waived { " (waived)" } else { "" });
    for part in [code, message].into_iter().filter(|part| !part.is_empty()) {
        line += &format!(": {part}");
    }
    line
}

/// A table that reads well in a terminal and in a file: one line below the header.
pub(super) fn new(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─')))
        .set_header(header.to_vec());
    table
}

pub(super) fn align_right(table: &mut Table, columns: std::ops::Range<usize>) {
    for column in columns {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

/// The time that a sweep still takes, as an interval where its ends differ.
pub(super) fn left(sweep: &v1::Sweep) -> Option<String> {
    let (low, high) = sweep.eta_low_s.zip(sweep.eta_high_s)?;
    let (low, high) = (rounded(low), rounded(high));
    Some(if low == high { high } else { format!("{low} to {high}") })
}

/// Seconds with about two digits that mean something.
fn rounded(seconds: f64) -> String {
    let unit = match seconds {
        s if s < 60.0 => 1.0,
        s if s < 600.0 => 10.0,
        s if s < 6_000.0 => 60.0,
        _ => 600.0,
    };
    let seconds = (seconds / unit).round() * unit;
    let whole = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
    humantime::format_duration(whole).to_string().replace(' ', "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_digits_that_mean_something() {
        let shown: Vec<_> = [0.2, 7.4, 59.6, 64.0, 127.0, 1_234.0, 20_000.0].map(rounded).into();
        assert_eq!(shown, ["0s", "7s", "1m", "1m", "2m10s", "21m", "5h30m"]);
    }

    #[test]
    fn a_plan_is_a_row_a_stage() {
        let stage = |stage: &str, jobs, fresh| v1::StagePlan {
            stage: stage.to_owned(),
            jobs,
            fresh,
            cached: jobs - fresh,
            running: 0,
        };
        let plan = v1::PlanReply {
            name: "demo".to_owned(),
            stages: vec![stage("pretrain", 24, 20), stage("gate", 1, 1)],
            notes: Vec::new(),
        };
        let rows: Vec<String> = plan_table(&plan)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        assert!(rows.contains(&"pretrain 24 20 4 0".to_owned()), "{rows:?}");
        assert!(rows.contains(&"gate 1 1 0 0".to_owned()), "{rows:?}");
    }
}
