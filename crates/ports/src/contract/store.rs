//! Contract of the store port.
