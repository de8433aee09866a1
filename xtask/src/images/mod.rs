//! `cargo xtask images`: the OCI archives of the static binaries.

pub(crate) mod archive;
