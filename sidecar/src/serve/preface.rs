//! Which version of HTTP a connection speaks: one of HTTP/2 begins with a preface that is no request of HTTP/1.1
//! (RFC 9113 section 3.4).

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begins {
    /// The preface of HTTP/2.
    Http2,
    /// Anything else, nothing included: HTTP/1.1 has an answer to it.
    Http1,
}

/// Reads the first bytes, no more of them than it takes to know, and returns them: whoever serves the connection has to read
/// them again.
pub(super) async fn begin<S: AsyncRead + Unpin>(inner: &mut S) -> io::Result<(Begins, Bytes)> {
    let mut first = BytesMut::with_capacity(PREFACE.len());
    let begins = loop {
        let left = PREFACE.len() - first.len();
        if left == 0 {
            break Begins::Http2;
        }
        let read = inner.read_buf(&mut (&mut first).limit(left)).await?;
        if read == 0 || !PREFACE.starts_with(&first) {
            break Begins::Http1;
        }
    };
    Ok((begins, first.freeze()))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    /// In pieces of any size, it is known as soon as it can be, and nothing is lost.
    #[tokio::test]
    async fn begins_as_it_says() {
        let requests: [(&[u8], Begins); 5] = [
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand more", Begins::Http2),
            (b"GET / HTTP/1.1\r\n\r\n", Begins::Http1),
            (b"PRI * HTTP/1.1\r\n\r\n", Begins::Http1),
            (b"PRI", Begins::Http1),
            (b"", Begins::Http1),
        ];
        for (text, expected) in requests {
            for room in [1, 5, 64] {
                let (mut visitor, mut ours) = tokio::io::duplex(room);
                let saying = async {
                    visitor.write_all(text).await.unwrap();
                    drop(visitor);
                };
                let reading = async {
                    let (begins, first) = begin(&mut ours).await.unwrap();
                    let mut read = first.to_vec();
                    ours.read_to_end(&mut read).await.unwrap();
                    (begins, read)
                };
                let ((), (begins, read)) = tokio::join!(saying, reading);
                assert_eq!((begins, &read[..]), (expected, text));
            }
        }
    }
}
