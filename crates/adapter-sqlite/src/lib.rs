//! adapter-sqlite
