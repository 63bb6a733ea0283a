//! Offers as the worker uses them.

use std::collections::BTreeMap;

use proto::id::JobKey;
use proto::pipe::Task;
use proto::v1;
use proto_kit::trace;
use serde_json::Value;
use worker_artifacts::ArtifactRef;

use crate::held;

/// A field of an offer that makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{field}: {reason}")]
pub(crate) struct OfferError {
    field: String,
    reason: String,
}

impl OfferError {
    fn of(field: &str, reason: impl ToString) -> Self {
        Self { field: field.to_owned(), reason: reason.to_string() }
    }
}

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
    /// The fan that it can share a lane with; empty for none.
    pub(crate) fan: String,
    /// How the lane runs its fan.
    pub(crate) fan_limits: Option<Value>,
    /// Jobs that its lane can hold beside each other: the fan's slots, or one.
    pub(crate) slots: usize,
    /// The trace that it is part of, 32 hex digits.
    pub(crate) trace: Option<String>,
}

impl Assignment {
    /// Reads an offer.
    ///
    /// # Errors
    /// When a field makes no sense, with its name.
    pub(crate) fn read(task: Task, offer: &v1::Offer) -> Result<Self, OfferError> {
        let input = |input: &v1::Input| {
            let missing = || OfferError::of("inputs", format!("`{}` has no artifact", input.name));
            Ok((input.name.clone(), reference(input.artifact.as_ref().ok_or_else(missing)?)?))
        };
        let fan_limits: Option<Value> = match offer.fan_limits.as_str() {
            "" => None,
            text => Some(serde_json::from_str(text).map_err(|error| OfferError::of("fan_limits", error))?),
        };
        let slots = match &fan_limits {
            Some(limits) if !offer.fan.is_empty() => slots(limits)?,
            _ => 1,
        };
        Ok(Self {
            task,
            key: offer.key.parse().map_err(|error| OfferError::of("key", error))?,
            spec: serde_json::from_str(&offer.spec).map_err(|error| OfferError::of("spec", error))?,
            role: if offer.role.is_empty() { offer.kind.clone() } else { offer.role.clone() },
            inputs: offer.inputs.iter().map(input).collect::<Result<_, _>>()?,
            checkpoint: offer.checkpoint.as_ref().map(reference).transpose()?,
            halvings: offer.halvings,
            fan: offer.fan.clone(),
            fan_limits,
            slots,
            trace: trace::id_of(&offer.traceparent),
        })
    }
}

/// The slots in the limits of a fan.
fn slots(limits: &Value) -> Result<usize, OfferError> {
    let slots = limits.get("slots").and_then(Value::as_u64).and_then(|slots| usize::try_from(slots).ok());
    slots
        .filter(|slots| *slots >= 1)
        .ok_or_else(|| OfferError::of("fan_limits", "`slots` is no whole number above 0"))
}

/// The task of an offer; without one nothing can even be refused.
pub(crate) fn task_of(offer: &v1::Offer) -> Option<Task> {
    offer.task.map(held::task)
}

/// A reference from a message.
fn reference(artifact: &v1::Artifact) -> Result<ArtifactRef, OfferError> {
    let digest = artifact.digest.parse().map_err(|error| OfferError::of(&artifact.path, error))?;
    Ok(ArtifactRef { path: artifact.path.clone(), digest })
}

/// A reference as a message.
pub(crate) fn message(artifact: &ArtifactRef) -> v1::Artifact {
    v1::Artifact { path: artifact.path.clone(), digest: artifact.digest.to_string() }
}
