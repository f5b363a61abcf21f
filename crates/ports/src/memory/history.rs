//! In-memory history.
