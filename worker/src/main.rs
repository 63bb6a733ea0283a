//! The worker's program: the command line and signals around the library.

mod cli;
mod signals;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
