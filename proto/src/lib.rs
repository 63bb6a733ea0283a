//! The contract between coordinator, worker and operators: messages, ids, states, error codes.
