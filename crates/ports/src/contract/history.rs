//! Contract of the history port.
