//! Devices by name, and what computes there.

pub use burn::tensor::Device;
use jobs_spec::memory::Engine;
use jobs_spec::model::Precision;

/// Why a device was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// A CUDA device was asked for.
    #[error("device `{0}`: this build has no CUDA support; use `cpu`, or build with `--features cuda`")]
    NoCuda(String),
    /// The name is not known.
    #[error("device `{0}`: unknown; use `cpu` or `cuda:N`")]
    Unknown(String),
    /// The machine lacks what a CUDA device needs.
    #[error("device `{0}`: missing: {1}")]
    Missing(String, String),
}

/// The device of a name: `cpu`, or `cuda:0`, `cuda:1` and so on.
///
/// # Errors
/// When the name is no device's, the build has no CUDA, or the machine lacks a driver, a GPU of that number, NVRTC or CUDA's headers.
pub fn parse(name: &str) -> Result<Device, DeviceError> {
    let unknown = || DeviceError::Unknown(name.to_owned());
    match name.split_once(':') {
        None if name == "cpu" => Ok(Device::flex()),
        Some(("cuda", index)) => gpu::open(name, index.parse().map_err(|_| unknown())?),
        _ => Err(unknown()),
    }
}

/// What computes on a device.
pub fn engine(device: &Device) -> Engine {
    if *device == Device::flex() {
        Engine::Cpu { threads: rayon::current_num_threads() }
    } else {
        Engine::Cuda
    }
}

/// The precision in which a device holds a frozen base unless another is asked for.
pub fn precision(device: &Device) -> Precision {
    match engine(device) {
        Engine::Cpu { .. } => Precision::F32,
        Engine::Cuda => Precision::Bf16,
    }
}

/// Bytes that a GPU of this name has free; `None` for anything else.
pub fn free_memory(name: &str) -> Option<u64> {
    gpu::free_memory(name.strip_prefix("cuda:")?.parse().ok()?)
}

#[cfg(not(feature = "cuda"))]
mod gpu {
    use super::{Device, DeviceError};

    pub(super) fn open(name: &str, _: usize) -> Result<Device, DeviceError> {
        Err(DeviceError::NoCuda(name.to_owned()))
    }

    pub(super) fn free_memory(_: usize) -> Option<u64> {
        None
    }
}

#[cfg(feature = "cuda")]
mod gpu {
    use burn::tensor::DeviceType;
    use cubecl::cuda::install;
    use cudarc::driver::CudaContext;

    use super::{Device, DeviceError};

    /// Headers that kernels include. CUDA 13's runtime packages lack the last, which is in a package of its own.
    const HEADERS: [&str; 3] = ["cuda_runtime.h", "cuda_bf16.h", "crt/mma.h"];

    pub(super) fn open(name: &str, index: usize) -> Result<Device, DeviceError> {
        let missing = missing(index);
        if missing.is_empty() {
            return Ok(Device::cuda(index));
        }
        Err(DeviceError::Missing(name.to_owned(), missing.join("; ")))
    }

    pub(super) fn free_memory(index: usize) -> Option<u64> {
        let context = CudaContext::new(index).ok()?;
        context.mem_get_info().ok().map(|(free, _)| free as u64)
    }

    fn missing(index: usize) -> Vec<String> {
        let mut missing = Vec::new();
        match Device::enumerate(DeviceType::Cuda).len() {
            0 => missing.push("an NVIDIA driver (libcuda.so.1) that sees a GPU".to_owned()),
            count if count <= index => missing.push(format!("a GPU of this number, there are {count}")),
            _ => {}
        }
        // SAFETY: looks whether the library can be loaded, and loads it, which runs its initialisers only.
        #[expect(unsafe_code, reason = "the binding has no other way to ask")]
        if !unsafe { cudarc::nvrtc::sys::is_culib_present() } {
            missing.push("NVRTC (libnvrtc.so of CUDA 12.8 or newer, in LD_LIBRARY_PATH)".to_owned());
        }
        let include = install::cuda_path().map(|path| path.join("include"));
        let absent = |header: &&str| !include.as_ref().is_some_and(|folder| folder.join(header).is_file());
        let absent: Vec<_> = HEADERS.into_iter().filter(absent).collect();
        if !absent.is_empty() {
            let folder = include
                .map_or("CUDA_PATH is not set".to_owned(), |path| format!("not in {}", path.display()));
            missing.push(format!("CUDA's headers {} ({folder})", absent.join(", ")));
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(parse("cpu").is_ok());
        for name in ["cpu:1", "tpu", "cuda", "cuda:", "cuda:x"] {
            assert_eq!(parse(name), Err(DeviceError::Unknown(name.into())));
        }
        assert_eq!(precision(&Device::flex()), Precision::F32);
        assert_eq!((free_memory("cpu"), free_memory("cuda:x")), (None, None));
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        assert_eq!(parse("cuda:1"), Err(DeviceError::NoCuda("cuda:1".into())));
    }
}
