//! Compiles the protocol definitions without protoc.

const FILES: [&str; 6] = [
    "proto/quorate/v1/quorate.proto",
    "proto/quorate/internal/log.proto",
    "proto/quorate/internal/snapshot.proto",
    "proto/quorate/internal/peer.proto",
    "proto/quorate/internal/founding.proto",
    "proto/quorate/internal/echo.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    // Maps in the order of their keys: what is equal is encoded equally.
    tonic_prost_build::configure().bytes(".").btree_map(".").compile_fds(descriptors)?;
    Ok(())
}
