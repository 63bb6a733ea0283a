//! Tools, traces, BFCL files, template synthesis, splits: no tensors.
