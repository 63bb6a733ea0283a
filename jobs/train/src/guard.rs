//! Numbers that end a training: NaN and infinity.

/// What went wrong in a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The loss is NaN or infinite.
    #[error("the loss is not finite")]
    Loss,
    /// A gradient is NaN or infinite.
    #[error("the gradient is not finite")]
    Gradient,
    /// A parameter became NaN or infinite.
    #[error("a parameter is not finite")]
    Parameter,
}

/// Passes a finite loss on.
///
/// # Errors
/// When it is not finite.
pub fn loss(loss: f32) -> Result<f32, Fault> {
    if loss.is_finite() { Ok(loss) } else { Err(Fault::Loss) }
}

/// Checks trained parameters.
///
/// # Errors
/// When one is not finite.
pub fn parameters(values: &[f32]) -> Result<(), Fault> {
    if values.iter().all(|value| value.is_finite()) { Ok(()) } else { Err(Fault::Parameter) }
}
