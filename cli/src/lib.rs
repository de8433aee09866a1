//! The `coppice` command as a library, so that tests can compare its parts with a real API server.
//!
//! ```text
//! yaml/    documents whose nodes know their lines
//! check/   is an object well-formed? In the API server's words, without one
//! dev/     `coppice dev`: operator index, stream and sidecar in one process, files in place of the API server
//! ```

pub mod check;
pub mod dev;
pub mod yaml;
