//! Generates the protocol's types from `proto/agent.proto` (needs protoc).

fn main() -> std::io::Result<()> {
    tonic_prost_build::configure().compile_protos(&["proto/agent.proto"], &["proto"])
}
