//! What must be so at the end, when nothing has gone wrong for a while.

use coordinator_core::invariants::JobFacts;
use coordinator_store::Store;
use coordinator_store::model::{JobFilter, JobView};
use futures::FutureExt;
use proto::id::SweepId;
use proto::state::{JobState, Outcome};

use crate::objects;
use crate::plan::FILE;
use crate::world::World;

impl World {
    fn job_views(&self) -> Vec<JobView> {
        let filter = JobFilter { sweep: SweepId(1), stage: None, state: None, limit: 1000 };
        let page = self.table.jobs(filter).now_or_never().and_then(Result::ok);
        page.map_or(Vec::new(), |page| page.jobs)
    }

    /// Whether every job has ended.
    pub(crate) fn is_over(&self) -> bool {
        let jobs = self.job_views();
        !jobs.is_empty() && jobs.iter().all(|job| job.state.is_terminal())
    }

    /// Every job has succeeded once, with the result that it has when nothing goes wrong.
    ///
    /// # Errors
    /// The job for which that is not so.
    pub(crate) fn check_end(&self) -> Result<(), String> {
        let facts = self.table.facts().now_or_never().and_then(Result::ok).unwrap_or_default();
        let jobs = self.job_views();
        if jobs.len() != self.plan.results().len() {
            return Err(format!("{} jobs of {}", jobs.len(), self.plan.results().len()));
        }
        for job in &jobs {
            self.check_job(job, &facts).map_err(|what| format!("job {}: {what}", job.id))?;
        }
        Ok(())
    }

    fn check_job(&self, job: &JobView, facts: &[JobFacts]) -> Result<(), String> {
        let artifact = match (&job.artifact, job.state) {
            (Some(artifact), JobState::Succeeded) => artifact,
            (_, state) => return Err(format!("ended as {state}: {:?}", job.error)),
        };
        let outcomes =
            facts.iter().filter(|facts| facts.id == job.id).flat_map(|facts| facts.outcomes.values());
        let committed = outcomes.filter(|outcome| **outcome == Some(Outcome::Committed)).count();
        if committed != 1 {
            return Err(format!("was committed {committed} times"));
        }
        let manifest = objects::whole(&self.objects, artifact)?;
        let file = manifest.files.iter().find(|file| file.path == FILE).ok_or("has no content")?;
        let content = objects::read(&self.objects, &file.blob().object(), file.sha256)?;
        match self.plan.results().get(&job.key) {
            Some(result) if result.as_bytes() == content => Ok(()),
            result => Err(format!("made {:?} instead of {result:?}", String::from_utf8_lossy(&content))),
        }
    }
}
