//! Compiles the protocol definitions without protoc, and packs the files of the dashboard.

use std::path::{Path, PathBuf};

const FILES: [&str; 6] = [
    "proto/quorate/v1/quorate.proto",
    "proto/quorate/internal/log.proto",
    "proto/quorate/internal/snapshot.proto",
    "proto/quorate/internal/peer.proto",
    "proto/quorate/internal/founding.proto",
    "proto/quorate/internal/echo.proto",
];

/// What browsers load.
const DASHBOARD: &str = "src/dashboard/web";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed={DASHBOARD}");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let descriptors = protox::compile(FILES, ["proto"])?;
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // Maps in the order of their keys: what is equal is encoded equally.
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    std::fs::write(out.join("dashboard_files.rs"), dashboard(&out)?)?;
    Ok(())
}

/// Rust code: the list of all files, with what is in them. Where they were on the machine of the build is left out of it, so that
/// the program is the same wherever it is built.
fn dashboard(out: &Path) -> std::io::Result<String> {
    let files = std::fs::canonicalize(DASHBOARD)?;
    let code = memory_serve::assets_to_code(DASHBOARD, &files, out, true, |_| {});
    let is_path = |line: &&str| line.trim_start().starts_with("path: ");
    Ok(code.lines().map(|line| if is_path(&line) { "path: \"\"," } else { line }).collect::<Vec<_>>().join("\n"))
}
