"""What the machine has: the device and its memory, and the CUDA compiler and headers that the runner's kernels need."""
import ctypes
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

# Every header that the runner's kernels include; mma.h needs crt/mma.h.
SOURCE = b"""#include <cuda_runtime.h>
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <mma.h>
extern "C" __global__ void kernel(const __nv_bfloat16 *from, float *to) {
  nvcuda::wmma::fragment<nvcuda::wmma::matrix_a, 16, 16, 16, __nv_bfloat16, nvcuda::wmma::row_major> tile;
  nvcuda::wmma::load_matrix_sync(tile, from, 16);
  to[0] = __bfloat162float(tile.x[0]);
}
"""
WHEELS = "nvidia-cuda-nvrtc, nvidia-cuda-runtime, nvidia-cuda-cccl and nvidia-cuda-crt (for CUDA 12: nvidia-cuda-nvcc-cu12 and the like)"


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA GPU as nvidia-smi shows it."""

    index: str
    name: str
    driver: str
    memory: int
    architecture: str  # as the runner's compiler names it
    every: float = 0.25  # seconds between samples of the memory

    @classmethod
    def find(cls) -> "Gpu":
        index = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        name, driver, memory, capability = query(index, "name,driver_version,memory.total,compute_cap").split(", ")
        digits = capability.replace(".", "")
        return cls(index, name, driver, int(memory) << 20, f"sm_{digits}a" if int(digits) >= 90 else f"sm_{digits}")

    def used(self, _process: int) -> int:
        """Memory in use on the whole device, by whomever."""
        return int(query(self.index, "memory.used")) << 20


def query(index: str, fields: str) -> str:
    words = ["nvidia-smi", f"--id={index}", f"--query-gpu={fields}", "--format=csv,noheader,nounits"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        sys.exit("nvidia-smi is not there: no NVIDIA driver? --dry-run needs none")
    except subprocess.CalledProcessError as error:
        sys.exit(f"failed: {' '.join(words)}\n  {(error.stdout + error.stderr).strip()}")


@dataclass(frozen=True)
class Cpu:
    """Stands in for a GPU in a dry run."""

    name: str = "CPU"
    driver: str = "none"
    memory: int = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    architecture: str = "sm_80"
    every: float = 0.02

    def used(self, process: int) -> int:
        """Resident memory of the process."""
        try:
            return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (FileNotFoundError, ProcessLookupError, IndexError):
            return 0


@dataclass(frozen=True)
class Compiler:
    """NVRTC and the folder that its headers were gathered in."""

    library: Path | None
    root: Path

    @classmethod
    def find(cls, scratch: Path, carried: Path) -> "Compiler":
        """Gathers what Python's wheels have, then an installed toolkit's; Triton's crt headers last, for CUDA 13's wheels have none.

        Links are made because the runner looks in one folder, and for one name of the library, whatever its version."""
        packages = [Path(path) for path in [str(carried), *sys.path]]
        installed = [Path(path) for path in (os.environ.get("CUDA_PATH"), "/usr/local/cuda", "/opt/cuda") if path]
        toolkits = [folder for package in packages for folder in sorted(package.glob("nvidia/*"))] + installed
        includes = [toolkit / "include" for toolkit in toolkits]
        includes += [package / "triton/backends/nvidia/include" for package in packages]
        root = scratch / "cuda"
        for include in includes:
            for header in include.rglob("*"):
                link = root / "include" / header.relative_to(include)
                if header.is_file() and not link.exists():
                    link.parent.mkdir(parents=True, exist_ok=True)
                    link.symlink_to(header)
        libraries = (path for toolkit in toolkits for lib in ("lib", "lib64") for path in sorted(toolkit.glob(f"{lib}/libnvrtc.so*")))
        library = next(libraries, None)
        if library:
            (root / "lib").mkdir(parents=True)
            (root / "lib/libnvrtc.so").symlink_to(library)
        return cls(library, root)

    def environment(self) -> dict[str, str]:
        """What the runner needs to find all this."""
        if not self.library:
            return {}
        folders = [str(self.root / "lib"), str(self.library.resolve().parent), os.environ.get("LD_LIBRARY_PATH")]
        return {"CUDA_PATH": str(self.root), "LD_LIBRARY_PATH": ":".join(filter(None, folders))}

    def problem(self, architecture: str) -> str | None:
        """Compiles a kernel like the runner's, which needs no GPU; says what is missing if that fails."""
        if not self.library:
            return f"no libnvrtc: install the wheels {WHEELS}"
        nvrtc = ctypes.CDLL(str(self.library))
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        include = self.root / "include"
        options = [f"--gpu-architecture={architecture}", f"--include-path={include}", f"--include-path={include}/cccl"]
        words = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
        if nvrtc.nvrtcCreateProgram(ctypes.byref(program), SOURCE, None, 0, None, None):
            return f"{self.library}: no program can be created"
        if not nvrtc.nvrtcCompileProgram(program, len(options), words):
            return None
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        return f"{log.value.decode().splitlines()[0]}; headers come with the wheels {WHEELS}"

    def version(self) -> str:
        if not self.library:
            return "none"
        major, minor = ctypes.c_int(), ctypes.c_int()
        ctypes.CDLL(str(self.library)).nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"
