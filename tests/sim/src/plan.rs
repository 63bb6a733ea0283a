//! The sweep of a simulation: adapters in fans, and evaluations that need them. What each job must make follows from its key alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use coordinator::server::planner::{PlanError, PlanRequest, Planned, Planner};
use jobs_spec::job::{FanLimits, Input, JobSpec, PlannedJob, PretrainSpec};
use jobs_spec::key::{digest_of, job_key};
use jobs_spec::manifest::{Pretrain, Prompt};
use proto::id::{Digest, JobKey};
use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use worker_artifacts::{Artifacts, Import, ImportFile, Source};

/// The file that every artifact of the simulation consists of.
pub(crate) const FILE: &str = "content";
/// What the imported input says.
const DATA: &str = "data";

/// The sweep of a world.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    planned: Planned,
    /// What each job must make.
    results: BTreeMap<JobKey, String>,
    fans: BTreeMap<JobKey, Option<Digest>>,
}

impl Plan {
    /// Draws a sweep.
    ///
    /// # Errors
    /// When the specs make no sense.
    pub(crate) fn draw(random: &mut ChaCha8Rng) -> Result<Self, String> {
        let file = ImportFile { path: FILE.to_owned(), source: Source::Bytes(DATA.into()) };
        let import = Import::plan("dataset", vec![file]).map_err(|error| error.to_string())?;
        let data = ("data".to_owned(), Input::Artifact(import.artifact.digest));
        let (mut jobs, mut results, mut fans) =
            (Vec::<PlannedJob>::new(), BTreeMap::<_, String>::new(), BTreeMap::new());
        for n in 0..random.random_range(3..8) {
            // Later jobs may need earlier ones; those that need none share a fan with others.
            let alone = n > 1 && random.random_bool(0.4);
            let mut inputs = BTreeMap::from([data.clone()]);
            if alone {
                for need in jobs.iter().filter(|_| random.random_bool(0.5)) {
                    inputs.insert(format!("need/{}", need.label), Input::Job(need.key));
                }
            }
            let prompt = Prompt::default();
            let name = format!("job {n}");
            let spec = JobSpec::Pretrain(PretrainSpec::new(
                name.clone(),
                name.clone(),
                &Pretrain::default(),
                &prompt,
                n,
            ));
            let key = job_key(&spec, &inputs).map_err(|error| error.to_string())?;
            let fan = (!alone).then(|| digest_of(&[random.random_range(0..2)]));
            let fan_limits = fan.map(|_| FanLimits { slots: 3, tokens_per_pass: 1 });
            let contents = inputs.iter().map(|(name, input)| match input {
                Input::Artifact(_) => (name.as_str(), DATA),
                Input::Job(need) => (name.as_str(), results[need].as_str()),
            });
            let result = run(key, contents.collect());
            results.insert(key, result);
            fans.insert(key, fan);
            let (tokens, coverage, may_miss) = (10 + n, false, Default::default());
            jobs.push(PlannedJob {
                key,
                spec,
                label: name,
                inputs,
                fan,
                fan_limits,
                tokens,
                coverage,
                may_miss,
            });
        }
        let planned = Planned {
            name: "simulated".to_owned(),
            manifest_digest: digest_of(b"simulated"),
            stages: vec!["pretrain".to_owned()],
            jobs,
            notes: Vec::new(),
            imports: vec![import],
        };
        Ok(Self { planned, results, fans })
    }

    /// What each job must make.
    pub(crate) fn results(&self) -> &BTreeMap<JobKey, String> {
        &self.results
    }

    /// The fan of a job.
    pub(crate) fn fan_of(&self, key: JobKey) -> Option<Digest> {
        self.fans.get(&key).copied().flatten()
    }
}

/// The result of a job that nothing ever interrupts.
fn run(key: JobKey, inputs: BTreeMap<&str, &str>) -> String {
    (0..steps(key)).fold(first(key, inputs), |state, _| next(&state))
}

/// How many steps a job takes.
pub(crate) fn steps(key: JobKey) -> u64 {
    3 + u64::from(key.0.as_bytes()[0] % 6)
}

/// The state before a job's first step.
pub(crate) fn first<K: AsRef<str>, V: AsRef<str>>(key: JobKey, inputs: BTreeMap<K, V>) -> String {
    let told: Vec<_> =
        inputs.iter().map(|(name, content)| format!("{}={}", name.as_ref(), content.as_ref())).collect();
    digest_of(format!("{key} {}", told.join(" ")).as_bytes()).to_string()
}

/// The state after a step.
pub(crate) fn next(state: &str) -> String {
    digest_of(state.as_bytes()).to_string()
}

/// Answers every manifest with the sweep of the world, and imports its input.
pub(crate) struct Answer {
    pub(crate) plan: Arc<Plan>,
    pub(crate) artifacts: Artifacts,
}

#[async_trait]
impl Planner for Answer {
    async fn plan(&self, _request: PlanRequest) -> Result<Planned, PlanError> {
        Ok(self.plan.planned.clone())
    }

    async fn import(&self, planned: &Planned) -> Result<(), PlanError> {
        for import in &planned.imports {
            let stored = self.artifacts.put_import(import).await;
            stored.map_err(|error| PlanError::Storage(error.to_string()))?;
        }
        Ok(())
    }
}
