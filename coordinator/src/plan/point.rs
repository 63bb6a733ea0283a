//! The jobs of one point. A job is planned when something needs it, so that a manifest that scores less computes less.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jobs_spec::category::Category;
use jobs_spec::job::{
    BaseSpec, EmbedSpec, EvaluateSpec, FanLimits, FinetuneSpec, GateSpec, Input, JobSpec, PlannedJob,
    PretrainSpec, input,
};
use jobs_spec::key::{canonical, digest_of};
use jobs_spec::manifest::{
    AdapterSet, Base, Embed, Evaluate, Manifest, Point, QueryEncoder, Variant, Weights,
};
use jobs_spec::memory::{Bytes, Engine, FanSizes, Recompute};
use jobs_spec::model::ModelConfig;
use proto::id::Digest;

use super::data::Data;
use super::inputs::Inputs;
use crate::server::planner::PlanError;

/// Tokens of one example of the base's corpus, roughly.
const BASE_EXAMPLE_TOKENS: u64 = 80;

/// All jobs of a point, those that others need before them.
pub(super) fn jobs(point: &Point, inputs: &mut Inputs) -> Result<Vec<PlannedJob>, PlanError> {
    let manifest = &point.manifest;
    let mut planned =
        Jobs { manifest, jobs: Vec::new(), embeddings: None, gate: None, finetuned: None, pretrained: None };
    let (base, model) = planned.base(point, inputs)?;
    let Some(dataset) = &manifest.dataset else { return Ok(planned.jobs) };
    let data = inputs.dataset(point, dataset)?;
    let encoder = match &manifest.stages.embed.q_encoder {
        QueryEncoder::Base => None,
        QueryEncoder::Bge(path) => {
            Some(Input::Artifact(inputs.model(point, "stages.embed.q_encoder.bge", path)?))
        }
    };
    let sources = Sources { base, encoder, data: &data };
    match &manifest.evaluate {
        None => {
            planned.finetuned(&sources)?;
        }
        Some(evaluate) => {
            let categories = scored_categories(point, evaluate, &data)?;
            for variant in &evaluate.variants {
                for category in &categories {
                    planned.evaluate(&sources, evaluate, variant, *category)?;
                }
            }
        }
    }
    if planned.pretrained.is_some() {
        inputs.note(memory(manifest, &model, &data));
    }
    Ok(planned.jobs)
}

/// What a lane's fan takes at its peak, for each policy, where it computes.
fn memory(manifest: &Manifest, model: &ModelConfig, data: &Data) -> String {
    let (stage, prompt) = (&manifest.stages.pretrain, &manifest.stages.prompt);
    let longest = data.tools.iter().map(|tool| tool.work.longest(stage.with_documents)).max().unwrap_or(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let sizes = |engine| FanSizes {
        model,
        rank: stage.rank,
        slots: stage.slots,
        tokens_per_pass: stage.tokens_per_pass,
        longest: (longest as usize).clamp(1, prompt.max_tokens),
        engine,
    };
    let totals = |engine| {
        let sizes = sizes(engine);
        Recompute::ALL.map(|policy| Bytes(sizes.total(policy)).to_string()).join(", ")
    };
    let cpu = sizes(Engine::Cpu { threads });
    format!(
        "a fan of {} slots and passes of {} tokens (longest trace about {}) takes, computing again nothing, elementwise, layers: \
         {} on {threads} CPU cores, {} on a GPU",
        cpu.slots,
        cpu.pass_tokens(),
        cpu.longest,
        totals(cpu.engine),
        totals(Engine::Cuda),
    )
}

/// The categories that are scored: those asked for, or all that have entries.
fn scored_categories(point: &Point, evaluate: &Evaluate, data: &Data) -> Result<Vec<Category>, PlanError> {
    let invalid = |field: &str, what: String| PlanError::Invalid(point.error(field, what).to_string());
    let Some(wanted) = &evaluate.categories else {
        if data.entries.is_empty() {
            return Err(invalid("evaluate", "the dataset has no held-out entries to score".to_owned()));
        }
        return Ok(Category::ALL
            .into_iter()
            .filter(|category| data.entries.contains_key(category))
            .collect());
    };
    match wanted.iter().position(|category| !data.entries.contains_key(category)) {
        Some(at) => {
            let what = "the dataset has no held-out entries of this category".to_owned();
            Err(invalid(&format!("evaluate.categories[{at}]"), what))
        }
        None => Ok(wanted.clone()),
    }
}

/// What the jobs of a point stand on.
struct Sources<'a> {
    base: Input,
    encoder: Option<Input>,
    data: &'a Data,
}

/// The jobs planned so far, and the artifacts of those that others need.
struct Jobs<'a> {
    manifest: &'a Manifest,
    jobs: Vec<PlannedJob>,
    embeddings: Option<Input>,
    gate: Option<Input>,
    finetuned: Option<Input>,
    pretrained: Option<BTreeMap<String, Input>>,
}

impl Jobs<'_> {
    fn base(&mut self, point: &Point, inputs: &mut Inputs) -> Result<(Input, ModelConfig), PlanError> {
        match &self.manifest.base {
            Base::Path(path) => {
                let (digest, model) = inputs.base(point, path)?;
                Ok((Input::Artifact(digest), model))
            }
            Base::Train(training) => {
                let spec = JobSpec::Base(BaseSpec {
                    training: training.clone(),
                    prompt: self.manifest.stages.prompt.clone(),
                    seed: self.manifest.seed,
                });
                let tokens = training.examples as u64 * BASE_EXAMPLE_TOKENS;
                let model = training.model(self.manifest.stages.prompt.max_tokens);
                Ok((self.add(spec, "base".to_owned(), BTreeMap::new(), tokens)?, model))
            }
        }
    }

    fn embeddings(&mut self, sources: &Sources<'_>) -> Result<Input, PlanError> {
        if let Some(done) = self.embeddings {
            return Ok(done);
        }
        let mut inputs = named([(input::DATASET, Input::Artifact(sources.data.training))]);
        match sources.encoder {
            Some(encoder) => inputs.insert(input::ENCODER.to_owned(), encoder),
            None => inputs.insert(input::BASE.to_owned(), sources.base),
        };
        let spec = JobSpec::Embed(EmbedSpec { embed: embed(&self.manifest.stages.embed) });
        let tokens = sources.data.tools.iter().map(|tool| tool.work.prompts(false)).sum();
        let made = self.add(spec, "embeddings".to_owned(), inputs, tokens)?;
        self.embeddings = Some(made);
        Ok(made)
    }

    /// One adapter per tool, under their input names.
    fn pretrained(&mut self, sources: &Sources<'_>) -> Result<BTreeMap<String, Input>, PlanError> {
        if let Some(done) = &self.pretrained {
            return Ok(done.clone());
        }
        let (stage, prompt, seed) =
            (&self.manifest.stages.pretrain, &self.manifest.stages.prompt, self.manifest.seed);
        let limits = FanLimits { slots: stage.slots, tokens_per_pass: stage.tokens_per_pass };
        let fan = fan_key(&sources.base, stage.rank, stage.alpha, limits);
        let mut made = BTreeMap::new();
        for tool in &sources.data.tools {
            let spec = PretrainSpec::new(tool.key.clone(), tool.name.clone(), stage, prompt, seed);
            let inputs = named([(input::BASE, sources.base), (input::TRACES, Input::Artifact(tool.traces))]);
            let with_documents = if stage.with_documents { tool.work.prompts(true) } else { 0 };
            let tokens = stage.epochs as u64 * (tool.work.prompts(false) + with_documents);
            let adapter = self.add(JobSpec::Pretrain(spec), tool.name.clone(), inputs, tokens)?;
            if let Some(job) = self.jobs.last_mut() {
                (job.fan, job.fan_limits, job.coverage) = (Some(fan), Some(limits), tool.coverage);
            }
            made.insert(input::adapter(&tool.key), adapter);
        }
        self.pretrained = Some(made.clone());
        Ok(made)
    }

    fn gate(&mut self, sources: &Sources<'_>) -> Result<Input, PlanError> {
        if let Some(done) = self.gate {
            return Ok(done);
        }
        let embeddings = self.embeddings(sources)?;
        let inputs = named([
            (input::DATASET, Input::Artifact(sources.data.training)),
            (input::EMBEDDINGS, embeddings),
        ]);
        let gate = self.manifest.stages.gate.clone();
        // A trace has one row per candidate, in a network that costs about as much as a small model's token.
        let traces: u64 = sources.data.tools.iter().map(|tool| tool.work.samples).sum();
        let tokens = gate.epochs as u64 * traces;
        let spec = JobSpec::Gate(GateSpec { gate, seed: self.manifest.seed });
        let made = self.add(spec, "gate".to_owned(), inputs, tokens)?;
        self.gate = Some(made);
        Ok(made)
    }

    fn finetuned(&mut self, sources: &Sources<'_>) -> Result<Input, PlanError> {
        if let Some(done) = self.finetuned {
            return Ok(done);
        }
        let embeddings = self.embeddings(sources)?;
        let mut inputs = self.pretrained(sources)?;
        let gate = self.gate(sources)?;
        inputs.extend(named([
            (input::BASE, sources.base),
            (input::DATASET, Input::Artifact(sources.data.training)),
            (input::EMBEDDINGS, embeddings),
            (input::GATE, gate),
        ]));
        let stages = &self.manifest.stages;
        let spec = JobSpec::Finetune(FinetuneSpec {
            finetune: stages.finetune.clone(),
            rank: stages.pretrain.rank,
            alpha: stages.pretrain.alpha,
            prompt: stages.prompt.clone(),
            seed: self.manifest.seed,
            tools: sources.data.tools.iter().map(|tool| tool.key.clone()).collect(),
        });
        let once: u64 = sources.data.tools.iter().map(|tool| tool.work.prompts(false)).sum();
        let made = self.add(spec, "adapters".to_owned(), inputs, stages.finetune.epochs as u64 * once)?;
        self.finetuned = Some(made);
        Ok(made)
    }

    fn evaluate(
        &mut self,
        sources: &Sources<'_>,
        evaluate: &Evaluate,
        variant: &Variant,
        category: Category,
    ) -> Result<(), PlanError> {
        let Some(entries) = sources.data.entries.get(&category) else { return Ok(()) };
        let gated = is_gated(variant);
        let mut inputs = self.variant_inputs(sources, variant, gated)?;
        inputs.extend(named([(input::BASE, sources.base), (input::ENTRIES, Input::Artifact(entries.set))]));
        let stages = &self.manifest.stages;
        let share = evaluate.limit.map_or(1.0, |limit| (limit as f64 / entries.count.max(1) as f64).min(1.0));
        let once = entries.work.prompts(variant.documents) as f64 * share;
        let spec = JobSpec::Evaluate(EvaluateSpec {
            // What has no effect must not make two jobs of one.
            variant: match variant.adapters {
                AdapterSet::None => Variant { weights: Weights::Uniform, ..variant.clone() },
                AdapterSet::Pretrained | AdapterSet::Finetuned => variant.clone(),
            },
            category,
            generation: evaluate.generation.clone(),
            prompt: stages.prompt.clone(),
            embed: if gated { embed(&stages.embed) } else { Embed::default() },
            limit: evaluate.limit,
        });
        let tokens = (once * evaluate.generation.seeds.len() as f64) as u64;
        self.add(spec, format!("{}/{category}", variant.name), inputs, tokens)?;
        Ok(())
    }

    /// Adapters, and the gate where it weighs them.
    fn variant_inputs(
        &mut self,
        sources: &Sources<'_>,
        variant: &Variant,
        gated: bool,
    ) -> Result<BTreeMap<String, Input>, PlanError> {
        let mut inputs = match variant.adapters {
            AdapterSet::None => BTreeMap::new(),
            AdapterSet::Pretrained => self.pretrained(sources)?,
            AdapterSet::Finetuned => named([(input::ADAPTERS, self.finetuned(sources)?)]),
        };
        if gated {
            inputs.insert(input::GATE.to_owned(), self.gate(sources)?);
            inputs.extend(sources.encoder.map(|encoder| (input::ENCODER.to_owned(), encoder)));
        }
        Ok(inputs)
    }

    fn add(
        &mut self,
        spec: JobSpec,
        label: String,
        inputs: BTreeMap<String, Input>,
        tokens: u64,
    ) -> Result<Input, PlanError> {
        let adapters = inputs.keys().filter(|name| input::tool_of_adapter(name).is_some()).count();
        let may_miss = u32::try_from(self.manifest.stages.pretrain.may_miss(adapters)).unwrap_or(u32::MAX);
        let job = PlannedJob::new(spec, label, inputs, tokens)
            .map_err(|error| PlanError::Invalid(error.to_string()))?;
        let made = Input::Job(job.key);
        self.jobs.push(PlannedJob { may_miss, ..job });
        Ok(made)
    }
}

/// Whether a variant asks the gate.
fn is_gated(variant: &Variant) -> bool {
    match (variant.adapters, variant.weights) {
        (AdapterSet::None, _) | (_, Weights::Uniform | Weights::Oracle) => false,
        (AdapterSet::Pretrained | AdapterSet::Finetuned, Weights::Gate | Weights::Top1) => true,
    }
}

/// The encoder under its name as an input: where the manifest's folder lies must not change keys.
fn embed(embed: &Embed) -> Embed {
    let q_encoder = match &embed.q_encoder {
        QueryEncoder::Base => QueryEncoder::Base,
        QueryEncoder::Bge(_) => QueryEncoder::Bge(PathBuf::from(input::ENCODER)),
    };
    Embed { q_encoder, layer: embed.layer, pooling: embed.pooling }
}

fn named<const N: usize>(inputs: [(&str, Input); N]) -> BTreeMap<String, Input> {
    inputs.into_iter().map(|(name, input)| (name.to_owned(), input)).collect()
}

/// What jobs must agree on to share passes over one frozen base.
fn fan_key(base: &Input, rank: usize, alpha: f64, limits: FanLimits) -> Digest {
    let shared = serde_json::json!({
        "alpha": alpha,
        "base": base,
        "rank": rank,
        "slots": limits.slots,
        "tokens_per_pass": limits.tokens_per_pass,
    });
    digest_of(canonical(&shared).as_bytes())
}
