//! The jobs of all points as one list: a job that several points ask for stands there once, under a label that tells only what sets
//! it apart.

use std::collections::{BTreeSet, HashMap};

use jobs_spec::job::{JobSpec, PlannedJob};
use jobs_spec::manifest::{Point, Setting};
use proto::id::JobKey;

/// Stages in the order in which they run.
pub const STAGES: [&str; 6] = ["base", "embed", "pretrain", "gate", "finetune", "evaluate"];

/// A job and the points that ask for it.
struct Shared {
    job: PlannedJob,
    points: Vec<usize>,
}

/// Every job once, by stage, then in the points' order.
pub(super) fn merge(points: &[Point], jobs_of_points: Vec<Vec<PlannedJob>>) -> Vec<PlannedJob> {
    let mut at: HashMap<JobKey, usize> = HashMap::new();
    let mut shared: Vec<Shared> = Vec::new();
    for (point, jobs) in jobs_of_points.into_iter().enumerate() {
        for job in jobs {
            let may_miss = job.may_miss;
            let place = *at.entry(job.key).or_insert_with(|| {
                shared.push(Shared { job, points: Vec::new() });
                shared.len() - 1
            });
            let Some(known) = shared.get_mut(place) else { continue };
            known.job.may_miss = known.job.may_miss.min(may_miss);
            if known.points.last() != Some(&point) {
                known.points.push(point);
            }
        }
    }
    shared.sort_by_key(|shared| STAGES.iter().position(|stage| *stage == shared.job.spec.kind()));
    shared
        .into_iter()
        .map(|Shared { job, points: asked_by }| {
            let settings = distinguishing(points, &asked_by);
            PlannedJob { label: labelled(&job, &settings), ..job }
        })
        .collect()
}

/// The settings that all points of a job have in common and some other point has not.
fn distinguishing<'a>(points: &'a [Point], asked_by: &[usize]) -> Vec<&'a Setting> {
    let Some(first) = asked_by.first().and_then(|point| points.get(*point)) else { return Vec::new() };
    let values = |field: usize, of: &mut dyn Iterator<Item = &'a Point>| -> BTreeSet<&'a str> {
        of.filter_map(|point| point.settings.get(field)).map(|setting| setting.value.as_str()).collect()
    };
    first
        .settings
        .iter()
        .enumerate()
        .filter(|(field, _)| {
            let own = values(*field, &mut asked_by.iter().filter_map(|point| points.get(*point)));
            own.len() == 1 && values(*field, &mut points.iter()).len() > 1
        })
        .map(|(_, setting)| setting)
        .collect()
}

/// `soft/multiple` becomes `soft[gate.lambda=0.2]/multiple`, so that each point has its own rows in the table of scores.
fn labelled(job: &PlannedJob, settings: &[&Setting]) -> String {
    if settings.is_empty() {
        return job.label.clone();
    }
    let point = settings.iter().map(|setting| setting.to_string()).collect::<Vec<_>>().join(",");
    match &job.spec {
        JobSpec::Evaluate(spec) => format!("{}[{point}]/{}", spec.variant.name, spec.category),
        _ => format!("{}[{point}]", job.label),
    }
}
