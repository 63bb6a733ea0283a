//! The job table behind one trait.
