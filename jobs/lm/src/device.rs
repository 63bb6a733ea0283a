//! Devices by name.

pub use burn::tensor::Device;

/// Why a device name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A CUDA device was asked for.
    #[error("device `{0}`: this build has no CUDA support; use `cpu`")]
    NoCuda(String),
    /// The name is not known.
    #[error("device `{0}`: unknown; use `cpu`")]
    Unknown(String),
}

/// The device of a name such as `cpu` or `cuda:0`.
pub fn parse(name: &str) -> Result<Device, DeviceError> {
    match name.split(':').next() {
        Some("cpu") if name == "cpu" => Ok(Device::flex()),
        Some("cuda") => Err(DeviceError::NoCuda(name.to_owned())),
        _ => Err(DeviceError::Unknown(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(parse("cpu").is_ok());
        assert_eq!(parse("cuda:1"), Err(DeviceError::NoCuda("cuda:1".into())));
        assert_eq!(parse("cpu:1"), Err(DeviceError::Unknown("cpu:1".into())));
        assert_eq!(parse("tpu"), Err(DeviceError::Unknown("tpu".into())));
    }
}
