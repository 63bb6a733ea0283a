//! Tests over the built binaries.
