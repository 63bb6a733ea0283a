//! CubeCL's LLVM compiler, left out.
//!
//! `cubecl-cuda` always depends on `cubecl-llvm`, whose build script downloads a bundle of LLVM. Quiver compiles its kernels by the other
//! way that CubeCL has (feature `cubecl/cuda-cpp`: CUDA C++ and NVRTC), which also knows more of the hardware, and so never calls this
//! one. Here are the names that `cubecl-cuda` 0.11.3 uses, and an error where one would be called. It is built with feature `cuda` only;
//! to have the real compiler, delete this crate and its line in `[patch.crates-io]`.

use std::convert::Infallible;
use std::ffi::c_char;

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_runtime::compiler::{CompilationError, Compiler};
use cubecl_runtime::kernel::BufferIOAttr;

/// What the compiler is asked for.
#[derive(Clone, Copy, Debug)]
pub enum LlvmTarget {
    /// PTX.
    Nvptx,
}

/// The compiler.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What it makes.
    pub target: LlvmTarget,
}

/// Its options.
#[derive(Debug, Default)]
pub struct PlironOptions {
    /// An AMD architecture; never one.
    pub arch: Option<Infallible>,
    /// An NVIDIA architecture.
    pub sm_arch: Option<SmArch>,
    /// The version of PTX.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Where scalars are passed.
    pub grid_constants: bool,
    /// Keeps the struct open, as the original is.
    pub other: (),
}

/// What it made.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// PTX.
    NvptxCode(NvptxModule),
}

/// A kernel in PTX.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX with a zero at its end.
    pub ptx: Vec<c_char>,
    /// What it was made from.
    pub ir: String,
    /// Bytes of shared memory.
    pub shared_memory_size: usize,
    /// What the kernel does with its buffers.
    pub io: Vec<BufferIOAttr>,
}

impl std::fmt::Display for PlironArtifact {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self::NvptxCode(module) = self;
        f.write_str(&module.ir)
    }
}

impl Compiler for PlironCompiler {
    type Representation = PlironArtifact;
    type CompilationOptions = PlironOptions;

    fn compile(&mut self, _: KernelDefinition, _: &PlironOptions) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build has no LLVM compiler for CUDA; kernels are compiled as CUDA C++".to_owned(),
            backtrace: BackTrace::capture(),
        })
    }

    fn extension(&self) -> &'static str {
        "ll"
    }

    fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// What is NVIDIA's.
pub mod nvptx {
    /// Versions of PTX.
    pub mod ptx_version {
        use std::convert::Infallible;
        use std::fmt;

        /// A version of PTX; there is none, as none is made.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct PtxVersion(Infallible);

        impl PtxVersion {
            /// The version for a driver: none.
            pub fn for_driver(_: i32) -> Option<Self> {
                None
            }
        }

        impl fmt::Display for PtxVersion {
            fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.0 {}
            }
        }
    }
}

/// What is every target's.
pub mod shared {
    /// Features that the compiler does not have.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// A GPU.
        #[derive(Clone, Copy, Debug)]
        pub enum GpuTarget {
            /// NVIDIA's.
            Nvptx,
        }

        /// Takes from a device's properties what the compiler lacks; called only where it is the one in use, which it never is.
        pub fn restrict_features(_: &mut DeviceProperties, _: GpuTarget) {}
    }
}
