//! The operator.

#[cfg(feature = "cluster")]
pub mod inject;
