//! Content-addressed store over object_store: blobs, manifests, verification.
