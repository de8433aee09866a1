//! A page's memory in an answer.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::Page;

/// What answers are made of: header values and a body that share the page's memory, which stays while one of them does.
pub struct Lent<'a> {
    page: &'a Page,
    /// The page's block.
    block: Bytes,
}

/// Keeps the page.
struct Block(Page);

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        self.0.block()
    }
}

impl<'a> Lent<'a> {
    pub(super) fn new(page: &'a Page) -> Self {
        let block = Bytes::from_owner(Block(page.clone()));
        Self { page, block }
    }

    /// What visitors may see of the app's headers.
    pub fn headers(&self) -> impl ExactSizeIterator<Item = (&'a HeaderName, HeaderValue)> {
        let fields = self.page.headers();
        fields.map(|(name, value)| (name, value.read(|bytes| self.block.slice_ref(bytes))))
    }

    /// The identity body.
    pub fn body(&self) -> Bytes {
        match self.page.head().content.long() {
            Some(body) => body.clone(),
            None => self.block.slice_ref(self.page.bytes()),
        }
    }
}
