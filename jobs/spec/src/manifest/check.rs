//! What a manifest's values must be beyond their types: ranges, names, what needs what.

use std::collections::BTreeSet;
use std::fmt::Display;

use super::tree::Mistake;
use super::{
    Base, BaseTraining, Bfcl, Dataset, Embed, Evaluate, Finetune, Gate, Generation, Layer, Manifest, Pooling,
    Pretrain, QueryEncoder, Records, Stages, Synthesis,
};

type Checked = Result<(), Mistake>;

/// The first value that is out of its range.
pub(super) fn manifest(manifest: &Manifest) -> Checked {
    name("name", &manifest.name)?;
    match &manifest.base {
        Base::Path(path) => folder("base.path", path)?,
        Base::Train(training) => base_training(training)?,
    }
    match &manifest.dataset {
        Some(Dataset::Records(records)) => check_records(records)?,
        Some(Dataset::Bfcl(bfcl)) => check_bfcl(bfcl)?,
        None if manifest.evaluate.is_some() => return Err(wrong("dataset", "missing: `evaluate` needs one")),
        None if matches!(manifest.base, Base::Path(_)) => {
            return Err(wrong("dataset", "missing: with a base that is there already nothing is left to do"));
        }
        None => {}
    }
    stages(&manifest.stages)?;
    match &manifest.evaluate {
        Some(evaluate) => check_evaluate(evaluate, manifest.dataset.as_ref()),
        None => Ok(()),
    }
}

fn base_training(training: &BaseTraining) -> Checked {
    let BaseTraining {
        hidden,
        layers,
        feed_forward,
        heads,
        kv_heads,
        vocabulary,
        tools,
        examples,
        with_documents,
        prompt_weight,
        batch,
        lr,
        beta2,
        warmup: _,
        weight_decay,
        clip,
    } = *training;
    for (field, value) in [
        ("hidden", hidden),
        ("layers", layers),
        ("feed_forward", feed_forward),
        ("heads", heads),
        ("kv_heads", kv_heads),
        ("tools", tools),
        ("examples", examples),
        ("batch", batch),
    ] {
        at_least(&format!("base.train.{field}"), value, 1)?;
    }
    // 256 bytes, the chat template's marks and the end of text come before any merge.
    at_least("base.train.vocabulary", vocabulary, 300)?;
    if hidden % heads != 0 || (hidden / heads) % 2 != 0 {
        let what = format!("must be an even multiple of `heads` ({heads}), is {hidden}");
        return Err(wrong("base.train.hidden", what));
    }
    if heads % kv_heads != 0 {
        let what = format!("must divide `heads` ({heads}), is {kv_heads}");
        return Err(wrong("base.train.kv_heads", what));
    }
    share("base.train.with_documents", with_documents)?;
    not_negative("base.train.prompt_weight", prompt_weight)?;
    positive("base.train.lr", lr)?;
    if !(0.0..1.0).contains(&beta2) {
        return Err(wrong("base.train.beta2", format!("must be at least 0 and less than 1, is {beta2}")));
    }
    not_negative("base.train.weight_decay", weight_decay)?;
    positive("base.train.clip", clip)
}

fn check_records(records: &Records) -> Checked {
    folder("dataset.records.path", &records.path)?;
    distinct("dataset.records.categories", records.categories.as_deref())
}

fn check_bfcl(bfcl: &Bfcl) -> Checked {
    folder("dataset.bfcl.path", &bfcl.path)?;
    distinct("dataset.bfcl.categories", Some(&bfcl.categories))?;
    if let Some(tools) = bfcl.tools {
        at_least("dataset.bfcl.tools", tools, 1)?;
    }
    let Synthesis { atomic, parallel: _, parallel_multiple: _, neighbours, seed: _ } = bfcl.synthesis;
    at_least("dataset.bfcl.synthesis.atomic", atomic, 1)?;
    at_least("dataset.bfcl.synthesis.neighbours", neighbours, 1)
}

fn stages(stages: &Stages) -> Checked {
    at_least("stages.prompt.max_tokens", stages.prompt.max_tokens, 1)?;
    check_embed(&stages.embed)?;
    check_pretrain(&stages.pretrain)?;
    check_gate(&stages.gate)?;
    let Finetune { epochs, lr, weight_decay, batch, learners: _, order: _ } = stages.finetune;
    at_least("stages.finetune.epochs", epochs, 1)?;
    positive("stages.finetune.lr", lr)?;
    not_negative("stages.finetune.weight_decay", weight_decay)?;
    at_least("stages.finetune.batch", batch, 1)
}

fn check_embed(embed: &Embed) -> Checked {
    let Embed { q_encoder, layer, pooling } = embed;
    let QueryEncoder::Bge(path) = q_encoder else { return Ok(()) };
    folder("stages.embed.q_encoder.bge", path)?;
    let refuse = |field: &str| Err(wrong(field, "is for `q_encoder: base`; a BERT encoder has its own way"));
    match (layer, pooling) {
        (Layer::First, _) => refuse("stages.embed.layer"),
        (_, Pooling::Last | Pooling::Parts) => refuse("stages.embed.pooling"),
        (Layer::Last, Pooling::Mean) => Ok(()),
    }
}

fn check_pretrain(pretrain: &Pretrain) -> Checked {
    let Pretrain {
        rank,
        alpha,
        epochs,
        lr,
        weight_decay,
        with_documents: _,
        slots,
        tokens_per_pass,
        required,
    } = *pretrain;
    at_least("stages.pretrain.rank", rank, 1)?;
    positive("stages.pretrain.alpha", alpha)?;
    at_least("stages.pretrain.epochs", epochs, 1)?;
    positive("stages.pretrain.lr", lr)?;
    not_negative("stages.pretrain.weight_decay", weight_decay)?;
    at_least("stages.pretrain.slots", slots, 1)?;
    at_least("stages.pretrain.tokens_per_pass", tokens_per_pass, 1)?;
    share("stages.pretrain.required", required)
}

fn check_gate(gate: &Gate) -> Checked {
    at_least("stages.gate.hidden", gate.hidden, 1)?;
    at_least("stages.gate.epochs", gate.epochs, 1)?;
    positive("stages.gate.lr", gate.lr)?;
    at_least("stages.gate.batch", gate.batch, 1)?;
    not_negative("stages.gate.lambda", gate.lambda)?;
    for (category, lambda) in &gate.lambda_by_category {
        not_negative(&format!("stages.gate.lambda_by_category.{category}"), *lambda)?;
    }
    if (0.0..1.0).contains(&gate.held_out) {
        Ok(())
    } else {
        let what = format!("must be at least 0 and below 1, is {}", gate.held_out);
        Err(wrong("stages.gate.held_out", what))
    }
}

fn check_evaluate(evaluate: &Evaluate, dataset: Option<&Dataset>) -> Checked {
    distinct("evaluate.categories", evaluate.categories.as_deref())?;
    let offered = match dataset {
        Some(Dataset::Bfcl(bfcl)) => Some(&bfcl.categories),
        Some(Dataset::Records(records)) => records.categories.as_ref(),
        None => None,
    };
    if let (Some(wanted), Some(offered)) = (&evaluate.categories, offered)
        && let Some(at) = wanted.iter().position(|category| !offered.contains(category))
    {
        let names = offered.iter().map(|category| category.name()).collect::<Vec<_>>().join(", ");
        let what = format!("is not in the dataset's categories ({names})");
        return Err(wrong(&format!("evaluate.categories[{at}]"), what));
    }
    if evaluate.variants.is_empty() {
        return Err(wrong("evaluate.variants", "is empty; leave it out for the usual five"));
    }
    let mut seen = BTreeSet::new();
    for (i, variant) in evaluate.variants.iter().enumerate() {
        let field = format!("evaluate.variants[{i}].name");
        name(&field, &variant.name)?;
        if !seen.insert(&variant.name) {
            return Err(wrong(&field, format!("`{}` stands twice", variant.name)));
        }
    }
    if let Some(limit) = evaluate.limit {
        at_least("evaluate.limit", limit, 1)?;
    }
    generation(&evaluate.generation)
}

fn generation(generation: &Generation) -> Checked {
    not_negative("evaluate.generation.temperature", generation.temperature)?;
    if !(generation.top_p > 0.0 && generation.top_p <= 1.0) {
        let what = format!("must be above 0 and at most 1, is {}", generation.top_p);
        return Err(wrong("evaluate.generation.top_p", what));
    }
    at_least("evaluate.generation.max_new_tokens", generation.max_new_tokens, 1)?;
    if generation.seeds.is_empty() {
        return Err(wrong("evaluate.generation.seeds", "is empty; one run needs one seed"));
    }
    distinct("evaluate.generation.seeds", Some(&generation.seeds))
}

fn wrong(path: &str, what: impl Into<String>) -> Mistake {
    Mistake { line: None, path: path.to_owned(), what: what.into() }
}

/// What people type on command lines and see in tables: a letter somewhere, so that a name is never taken for an id.
fn name(path: &str, name: &str) -> Checked {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 100 {
        Err(wrong(path, format!("must have 1 to 100 characters, has {}", name.len())))
    } else if let Some(c) = name.chars().find(|c| !allowed(*c)) {
        Err(wrong(path, format!("may hold letters, digits, `-`, `_` and `.`, not {c:?}")))
    } else if !name.chars().any(|c| c.is_ascii_alphabetic()) {
        Err(wrong(path, format!("needs a letter, is `{name}`")))
    } else {
        Ok(())
    }
}

fn folder(path: &str, folder: &std::path::Path) -> Checked {
    if folder.as_os_str().is_empty() { Err(wrong(path, "must name a folder, is empty")) } else { Ok(()) }
}

fn at_least(path: &str, value: usize, least: usize) -> Checked {
    if value >= least { Ok(()) } else { Err(wrong(path, format!("must be at least {least}, is {value}"))) }
}

fn positive(path: &str, value: f64) -> Checked {
    if value > 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(wrong(path, format!("must be above 0 and finite, is {value}")))
    }
}

fn not_negative(path: &str, value: f64) -> Checked {
    if value >= 0.0 && value.is_finite() {
        Ok(())
    } else {
        Err(wrong(path, format!("must be at least 0 and finite, is {value}")))
    }
}

fn share(path: &str, value: f64) -> Checked {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(wrong(path, format!("must be between 0 and 1, is {value}")))
    }
}

/// A list, where there is one, that is not empty and has nothing twice.
fn distinct<T: PartialEq + Display>(path: &str, items: Option<&[T]>) -> Checked {
    let Some(items) = items else { return Ok(()) };
    if items.is_empty() {
        return Err(wrong(path, "is empty; leave it out for the default"));
    }
    match (0..items.len()).find(|i| items[..*i].contains(&items[*i])) {
        Some(i) => Err(wrong(&format!("{path}[{i}]"), format!("{} stands twice", items[i]))),
        None => Ok(()),
    }
}
