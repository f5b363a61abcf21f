//! The public API, version 1: wire types, routes, OpenAPI document and client.
//!
//! Everything that the command line or the web pages can do goes through these types,
//! so a user's script can do it too. Names and units are part of each field's name or
//! comment; times are RFC 3339 in UTC.

#[cfg(feature = "client")]
pub mod client;
pub mod openapi;
pub mod problem;
pub mod routes;
pub mod v1;

pub use problem::{Problem, ProblemKind};
