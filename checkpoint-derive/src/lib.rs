//! The derive macro of the `checkpoint` crate.
