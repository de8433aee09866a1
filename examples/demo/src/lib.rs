//! The demonstration app.
