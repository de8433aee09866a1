//! What pieces of memory take, in bytes, beside what is in them: a store of many small pages is mostly made of that.

/// What an allocator takes for each piece, beside what is asked of it.
pub(crate) const PIECE: usize = 16;
/// What counts who shares an [`Arc`](std::sync::Arc), in one piece with it.
pub(crate) const COUNTS: usize = 2 * size_of::<usize>();
/// What counts who shares [`Bytes`](bytes::Bytes), a piece of its own, and the piece that they are.
pub(crate) const SHARED: usize = 3 * size_of::<usize>() + 2 * PIECE;
