//! Image files of this host: what they are, which are kept free for guests that come, and
//! how they are copied.

pub mod checksum;
pub mod claims;
pub mod copy;
pub mod facts;
pub mod place;
