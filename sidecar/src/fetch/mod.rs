//! Asking the app.

pub mod upstream;
