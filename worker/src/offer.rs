//! Offers as the worker uses them.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};
use proto::id::JobKey;
use proto::pipe::Task;
use proto::v1;
use serde_json::Value;
use worker_artifacts::ArtifactRef;

use crate::held;

/// A job to run.
#[derive(Clone, Debug)]
pub(crate) struct Assignment {
    /// The job and attempt.
    pub(crate) task: Task,
    /// The job's key.
    pub(crate) key: JobKey,
    /// The job spec, opaque.
    pub(crate) spec: Value,
    /// The role of what it makes.
    pub(crate) role: String,
    /// Its inputs by name.
    pub(crate) inputs: BTreeMap<String, ArtifactRef>,
    /// The newest recorded checkpoint.
    pub(crate) checkpoint: Option<ArtifactRef>,
    /// How often memory ran out in earlier attempts.
    pub(crate) halvings: u32,
    /// How the lane runs its fan.
    pub(crate) fan_limits: Option<Value>,
    /// Jobs that its lane can hold beside each other: the fan's slots, or one.
    pub(crate) slots: usize,
}

impl Assignment {
    /// Reads an offer.
    ///
    /// # Errors
    /// When a field makes no sense, with its name.
    pub(crate) fn read(task: Task, offer: &v1::Offer) -> anyhow::Result<Self> {
        let input = |input: &v1::Input| -> anyhow::Result<_> {
            let artifact =
                input.artifact.as_ref().with_context(|| format!("input `{}` has no artifact", input.name))?;
            Ok((input.name.clone(), reference(artifact)?))
        };
        let fan_limits: Option<Value> = match offer.fan_limits.as_str() {
            "" => None,
            text => Some(serde_json::from_str(text).context("fan_limits")?),
        };
        let slots = match &fan_limits {
            Some(limits) if !offer.fan.is_empty() => {
                let slots = limits
                    .get("slots")
                    .and_then(Value::as_u64)
                    .context("fan_limits has no whole number `slots`")?;
                usize::try_from(slots).context("fan_limits.slots")?
            }
            _ => 1,
        };
        ensure!(slots >= 1, "fan_limits.slots is 0");
        Ok(Self {
            task,
            key: offer.key.parse().context("key")?,
            spec: serde_json::from_str(&offer.spec).context("spec")?,
            role: if offer.role.is_empty() { offer.kind.clone() } else { offer.role.clone() },
            inputs: offer.inputs.iter().map(input).collect::<anyhow::Result<_>>()?,
            checkpoint: offer.checkpoint.as_ref().map(reference).transpose()?,
            halvings: offer.halvings,
            fan_limits,
            slots,
        })
    }
}

/// The task of an offer; without one nothing can even be refused.
pub(crate) fn task_of(offer: &v1::Offer) -> Option<Task> {
    offer.task.map(held::task)
}

/// A reference from a message.
fn reference(artifact: &v1::Artifact) -> anyhow::Result<ArtifactRef> {
    let digest = artifact.digest.parse().with_context(|| format!("artifact {}", artifact.path))?;
    Ok(ArtifactRef { path: artifact.path.clone(), digest })
}

/// A reference as a message.
pub(crate) fn message(artifact: &ArtifactRef) -> v1::Artifact {
    v1::Artifact { path: artifact.path.clone(), digest: artifact.digest.to_string() }
}
