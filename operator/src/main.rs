//! The operator of Coppice.

fn main() {}
