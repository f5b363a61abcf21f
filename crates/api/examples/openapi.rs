//! Prints the OpenAPI document: `cargo run -p drover-api --example openapi`.

#![allow(clippy::print_stdout, reason = "printing is its whole purpose")]

fn main() -> Result<(), serde_json::Error> {
    println!("{}", serde_json::to_string_pretty(&drover_api::openapi::document())?);
    Ok(())
}
