//! The demonstration app of Coppice.

fn main() {}
