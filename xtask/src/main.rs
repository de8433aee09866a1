//! Developer commands behind `cargo xtask`.

fn main() {}
