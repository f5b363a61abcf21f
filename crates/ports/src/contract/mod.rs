//! One contract suite per port. The twin and every adapter run the same.

pub mod history;
pub mod store;
