//! Compiles the messages in pure Rust: no system protoc.

use std::path::PathBuf;
use std::{env, fs};

use protox::prost_reflect::prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=v1");
    if env::var_os("CARGO_FEATURE_WIRE").is_none() {
        return Ok(());
    }
    let files = protox::compile(["common.proto", "fleet.proto", "operator.proto"], ["v1"])?;
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("methods.rs"), methods(&files))?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}

/// A slice with the path of every method.
fn methods(files: &FileDescriptorSet) -> String {
    let services = files.file.iter().flat_map(|file| file.service.iter().map(move |service| (file, service)));
    let paths = services.flat_map(|(file, service)| {
        let service_path = format!("/{}.{}", file.package(), service.name());
        service.method.iter().map(move |method| format!("{service_path}/{}", method.name()))
    });
    format!("&{:?}", paths.collect::<Vec<_>>())
}
